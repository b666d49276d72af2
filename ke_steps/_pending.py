"""What a run of a study would do now, and why, read off the output of ``snakemake --dry-run``."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ke_steps._errors import UserError

NOT_THERE = "not there yet"
SETTINGS, CODE = "settings changed", "code changed"
AN_INPUT = "an input changed"
FOLLOWS = "follows another of these jobs"

REASONS = {
    "Missing output files": NOT_THERE,
    "Input files updated by another job": FOLLOWS,
    "Params have changed since last execution": SETTINGS,
    "Updated input files": AN_INPUT,
    "Set of input files has changed since last execution": "other inputs than before",
    "Code has changed since last execution": "its command changed",
    "Forced execution": "unfinished, or of unknown origin",
}
"""Snakemake's reason → ours; one that is not here is said in its words."""

WORDS = {"step": "step", "seed": "seed"}
"""Wildcards whose values are numbers, and so are said with their name."""

MAX_VALUE_CHARACTERS = 40
MAX_NAMED = 3
"""Of several changed keys or files, so many are named."""


class Pending(NamedTuple):
    """A job that a run would do, and why.

    Attributes:
        rule: its rule.
        place: its wildcards in words, such as ``tiny step 8 boost baseline seed 1``.
        reason: in one of few words, to count by.
        detail: which keys, which files, which rules; may be empty.
    """

    rule: str
    place: str
    reason: str
    detail: str


def read_dry_run(output: str) -> list[Pending]:
    """Return the jobs that a run would do, the target rule ``all`` left out.

    Raises:
        UserError: the output is not that of a dry run, as when Snakemake refused the study.
    """
    if "Nothing to be done" in output:
        return []
    found = re.findall(r"^( *)(?:local)?rule (\w+):\n((?:\1 {4}.*\n)+)", output, re.MULTILINE)
    if not found:
        raise UserError(f"no dry run: {output.strip() or 'nothing was given'}")
    jobs = [(rule, _fields(details)) for _, rule, details in found if rule != "all"]
    makers = {path: rule for rule, fields in jobs for path in _list(fields, "output")}
    return [Pending(rule, _place(fields), *_reason(fields, makers)) for rule, fields in jobs]


def _fields(details: str) -> dict[str, str]:
    """Return what Snakemake says of a job, by the word before the colon."""
    return dict(re.findall(r"^ +(\w+): (.*)$", details, re.MULTILINE))


def _list(fields: Mapping[str, str], name: str) -> list[str]:
    return fields[name].split(", ") if name in fields else []


def _place(fields: Mapping[str, str]) -> str:
    wildcards = (each.split("=", 1) for each in _list(fields, "wildcards"))
    return " ".join(
        f"{WORDS[name]} {value}" if name in WORDS else value for name, value in wildcards
    )


def _reason(fields: Mapping[str, str], makers: Mapping[str, str]) -> tuple[str, str]:
    """Return the first reason and its detail: the others come of it, or would not be needed."""
    words, _, rest = fields.get("reason", "not said").partition(": ")
    words = words.split(";")[0].strip()
    reason = REASONS.get(words, words.lower())
    if reason == SETTINGS:
        return _changes(rest)
    files = rest.split("; ")[0].split(", ")
    if reason == AN_INPUT:
        return reason, _some(files)
    if reason == FOLLOWS:
        return reason, _some(sorted({makers.get(file, file) for file in files}))
    return reason, ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _changes(rest: str) -> tuple[str, str]:
    """Tell settings from code, both of which are parameters of a job, and name changed keys."""
    found = re.search(r"before: (.*) now: (.*?) *(?:; .*)?$", rest)
    before, now = (_values(text) for text in found.groups()) if found else ([], [])
    old, new = _settings(before), _settings(now)
    keys = _some([f"{key} {change}" for key, change in _differences(old, new)])
    has_code = any(re.fullmatch("[0-9a-f]{16}", str(value)) for value in now)
    has_settings = keys or not has_code
    reason = " and ".join([*([SETTINGS] if has_settings else []), *([CODE] if has_code else [])])
    return reason.replace("changed and", "and"), keys


def _values(text: str) -> list[Any]:
    """Return parameters that Snakemake wrote one after another, as Python would."""
    try:
        return list(ast.literal_eval(f"[{text}]"))
    except (SyntaxError, ValueError):  # <nothing exclusive>
        return []


def _settings(values: list[Any]) -> dict[str, Any]:
    for value in values:
        if isinstance(value, str) and value.startswith("{"):
            return dict(json.loads(value))
    return {}


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield changed keys, dotted, and how they changed."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
    elif old != new:
        yield key, f"{_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if value is not None else "none"
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 1] + "…"
