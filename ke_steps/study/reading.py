"""Reading a study, and refusing a wrong one with a line per fault.

Run as a program it prints the schema of every study: ``python -m ke_steps.study.reading``.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ke_steps.job.errors import UserError
from ke_steps.settings.study import Study
from ke_steps.settings.types import (
    NAME_PATTERN,
    RESULTS_PATTERN,
)
from ke_steps.study.contradictions import checks
from ke_steps.study.local_files import missing_files
from ke_steps.study.own_results import default_folder, taken_folders
from ke_steps.study.right_part import Keys, holder_of, known, right_part


def read_study_file(path: Path, *, need_files: bool = True) -> Study:
    """Return the study of a config file.

    Args:
        path: a YAML file.
        need_files: whether a file that the study names and is not there is a fault.

    Raises:
        UserError: the file cannot be read, is no YAML, or the study is wrong; a line per fault.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:  # in the words of the Makefile
        raise UserError(f"{path}: no such file; studies are in config/") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; studies are in config/") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text, byte {error.start} is no character") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: got {config!r}, not keys and values; see config/README.md")
    return read_study(config, path, need_files=need_files)


def read_study(
    config: Mapping[str, Any], file: Path | None = None, *, need_files: bool = True
) -> Study:
    """Validate a whole config; raise one ``UserError`` with a line per fault.

    Args:
        config: the keys of a config file.
        file: where they are from; it names the results folder of a study that names none.
        need_files: whether a file that the study names and is not there is a fault.
    """
    named = {"results_dir": default_folder(file)} if file else {}
    whole = named | dict(config)
    lines: list[str] = []
    try:
        study: Study | None = Study.model_validate(whole)
    except ValidationError as error:
        schema = _schema()
        lines = explain_faults(error, schema)
        study = right_part(whole, lambda fault: _wrong_keys(fault, schema, whole))
    if study is not None:
        found = [
            *checks(study),
            *([missing_files(study)] if need_files else []),
            *([taken_folders(study, file)] if file else []),
        ]
        faults = known(found) if lines else chain.from_iterable(found)
        lines += [f"{key}: {message}" for key, message in faults]
    if lines or study is None:
        raise UserError("\n".join(lines))
    return study


@cache
def _schema() -> dict[str, Any]:
    return Study.model_json_schema()


PATTERNS = {
    NAME_PATTERN: "a letter or digit, then letters, digits, '.', '_' and '-'",
    RESULTS_PATTERN: "letters, digits, '.', '_', '-' and '/'",
}
"""What the patterns of names mean."""


def explain_faults(error: ValidationError, schema: dict[str, Any]) -> list[str]:
    """Return one line ``key: what is wrong; what would be right`` per fault."""
    return [_explain(fault, schema) for fault in error.errors()]


def _explain(fault: Any, schema: dict[str, Any]) -> str:
    node, keys = _walk(fault["loc"], schema)
    key = "".join(map(_written, keys)).lstrip(".") or "config"
    match fault["type"]:
        case "extra_forbidden":
            close = _close_keys(node, keys)
            hint = f"did you mean {close[0]!r}? " if close else ""
            return f"{key}: unknown key; {hint}valid keys: {', '.join(_valid_keys(node))}"
        case "missing":
            return f"{key}: missing; this key is required"
        case "value_error":
            return f"{key}: {fault['ctx']['error']}"
        case "union_tag_not_found":
            return f"{key}: needs a key 'kind'; valid kinds: {', '.join(_kinds(node))}"
        case "union_tag_invalid":
            return (
                f"{key}.kind: got {fault['ctx']['tag']!r}; valid kinds: {', '.join(_kinds(node))}"
            )
        case _:
            return f"{key}: got {fault['input']!r}; {_wish(fault)}"


def _wrong_keys(fault: Any, schema: dict[str, Any], config: Mapping[str, Any]) -> list[Keys]:
    """Return where what is wrong is: an unknown key, and the absent one that it may stand for."""
    node, keys = _walk(fault["loc"], schema)
    match fault["type"]:
        case "extra_forbidden":
            said = holder_of(config, tuple(keys))
            meant = [close for close in _close_keys(node, keys) if close not in said]
            return [tuple(keys), *((*keys[:-1], close) for close in meant)]
        case "missing":
            return [tuple(keys[:-1])]
        case _:
            return [tuple(keys)]


def _valid_keys(node: dict[str, Any]) -> list[str]:
    return sorted(node.get("properties", {}))


def _close_keys(node: dict[str, Any], keys: list[int | str]) -> list[str]:
    return difflib.get_close_matches(str(keys[-1]), _valid_keys(node), n=1)


def _wish(fault: Any) -> str:
    """Return what a value should be."""
    pattern = fault.get("ctx", {}).get("pattern")
    if pattern in PATTERNS:
        return f"should be {PATTERNS[pattern]} (pattern {pattern})"
    return fault["msg"].replace("Input should", "should")


def _written(key: int | str) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key if key.isprintable() else repr(key)}"


def _walk(
    location: tuple[int | str, ...], schema: dict[str, Any]
) -> tuple[dict[str, Any], list[int | str]]:
    """Follow an error's location; return the schema node that holds it and the keys a user wrote.

    Pydantic puts the tag of a discriminated union among the keys; a user never wrote it there.
    """
    node: dict[str, Any] = schema
    holder, keys = node, []
    for part in location:
        node = _resolve(node, schema)
        if part in _kinds(node):
            node = _resolve({"$ref": node["discriminator"]["mapping"][part]}, schema)
            holder = node
            continue
        if part == "[key]":
            continue
        holder = node
        keys.append(part)
        entries = [*node.get("patternProperties", {}).values(), node.get("items"), {}]
        node = node.get("properties", {}).get(part, entries[0] or {})
    if _kinds(resolved := _resolve(node, schema)):
        holder = resolved
    return holder, keys


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for option in node.get("anyOf", []):
        if option.get("type") != "null":
            return _resolve(option, schema)
    if "$ref" in node:
        target: dict[str, Any] = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return target
    return node


def _kinds(node: dict[str, Any]) -> list[str]:
    return list(node.get("discriminator", {}).get("mapping", {}))


def main() -> None:
    """Print the schema of every study."""
    print(json.dumps(Study.model_json_schema(), indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
