"""The command line of every step, read off the signature of its ``run``.

A keyword of type ``Path`` becomes a required ``--keyword``, ``Path | None`` an optional one, and
``list[Path]`` one that takes several; ``settings`` takes canonical JSON. ``output`` and keywords
that begin with ``output_`` are written, all others are read. A ``UserError`` ends in one line.

Where a step reads more files than a command line can hold, a ``list[Path]`` takes a pattern such as
``results/fit_decay/{runs}/decay.parquet``, filled in with each of ``settings.places["runs"]``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ke_steps import _provenance, _usage
from ke_steps._errors import UserError


def main(run: Callable[..., None], arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the step, write its job record; refusals are one line, exit 1."""
    hints = typing.get_type_hints(run)
    hints.pop("return", None)
    step = Path(sys.modules[run.__module__].__file__ or run.__module__).stem
    parsed = vars(_parser(step, run, hints).parse_args(arguments))
    record = parsed.pop("record")
    try:
        parsed["settings"] = _read_settings(hints["settings"], parsed["settings"])
        places = getattr(parsed["settings"], "places", {})
        for name, hint in hints.items():
            if hint == list[Path]:
                parsed[name] = [file for path in parsed[name] for file in _fill_in(path, places)]
        _run(run, step, parsed, record)
    except UserError as error:
        sys.exit(f"{step}: {error}")


def _parser(step: str, run: Callable[..., None], hints: dict[str, Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m ke_steps.{step}", description=run.__doc__)
    for name, hint in hints.items():
        flag = "--" + name.replace("_", "-")
        if name == "settings":
            parser.add_argument(flag, required=True, metavar="JSON")
        elif hint == list[Path]:
            parser.add_argument(flag, type=Path, nargs="*", default=[], metavar="PATH")
        else:
            parser.add_argument(flag, type=Path, required=hint is Path, metavar="PATH")
    parser.add_argument("--record", type=Path, help="where to write the job record (JSON)")
    return parser


def _read_settings(model: type[BaseModel], text: str) -> BaseModel:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"--settings: {where}: {first['msg']}") from error


def _fill_in(pattern: Path, places: Mapping[str, Sequence[str]]) -> list[Path]:
    """Return the paths of a pattern such as ``{runs}/training.parquet``; a plain path is itself."""
    name = re.search(r"\{(\w+)\}", str(pattern))
    if name is None:
        return [pattern]
    if name[1] not in places:
        raise UserError(f"{pattern}: settings.places has no {name[1]!r}, only {', '.join(places)}")
    return [Path(str(pattern).replace(name[0], place)) for place in places[name[1]]]


def _is_output(name: str) -> bool:
    return name == "output" or name.startswith("output_")


def _run(
    run: Callable[..., None], step: str, keywords: dict[str, Any], record: Path | None
) -> None:
    inputs = _flatten({k: v for k, v in keywords.items() if k != "settings" and not _is_output(k)})
    outputs = _flatten({k: v for k, v in keywords.items() if _is_output(k)})
    for name, path in inputs.items():
        if not path.is_file():
            raise UserError(f"--{name.replace('_', '-')}: no such file: {path}")
    for path in outputs.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    settings = keywords["settings"].model_dump(mode="json")
    with _usage.watching() as usage, _provenance.recording(step, settings, inputs):
        run(**keywords)
        provenance = _provenance.current()
    if record is not None and os.environ.get("RANK", "0") == "0":
        job = (
            provenance
            | usage.summary()
            | {
                "outputs": {str(path): _provenance.hash_file(path) for path in outputs.values()},
                "host": platform.node(),
            }
        )
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(job, indent=1, sort_keys=True) + "\n")


def _flatten(keywords: dict[str, Any]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for name, value in keywords.items():
        if isinstance(value, Path):
            paths[name] = value
        elif isinstance(value, list):
            paths.update({f"{name}[{index}]": path for index, path in enumerate(value)})
    return paths
