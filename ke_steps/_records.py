"""Job records: which jobs led to a report, on what machine, in what time.

The command line of every step writes a record beside the results
(``<results_dir>/logs/<rule>/….json``): step, code, settings, input hashes, versions, outputs with
hashes, times, memory. Records are traced backwards by content: a job led to the report when its
output, still on disk as recorded, is an input of the report or of a job that led to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ke_steps._errors import UserError
from ke_steps._identity import corpus_of, identify
from ke_steps._provenance import hash_file

Record = dict[str, Any]


class Trace(NamedTuple):
    """The records that led to a report, in the order of their start, and how many did not."""

    records: list[Record]
    num_left_out: int


def trace(logs: Path, inputs: Iterable[Path]) -> Trace:
    """Return the records under ``logs`` that led to the files ``inputs``."""
    every = [json.loads(path.read_text()) for path in sorted(logs.rglob("*.json"))]
    current = [record for record in every if _is_current(record)]
    wanted = {hash_file(path) for path in inputs}
    led: list[Record] = []
    while found := [r for r in current if wanted & set(r["outputs"].values())]:
        current = [r for r in current if not wanted & set(r["outputs"].values())]
        led.extend(found)
        wanted.update(digest for record in found for digest in record["inputs"].values())
    led.sort(key=lambda record: record["started_unix_seconds"])
    return Trace(led, len(every) - len(led))


def _is_current(record: Record) -> bool:
    files = {Path(path): digest for path, digest in record["outputs"].items()}
    return all(path.is_file() and hash_file(path) == digest for path, digest in files.items())


def subject(record: Record) -> str:
    """Return what a job was about: the wildcards of its first output, or that file's name."""
    first = Path(min(record["outputs"]))
    try:
        model, step, variant, recipe, seed = identify(first)
    except UserError:
        return "/".join(first.parts[-2:])
    run = "" if recipe is None else f" · {recipe} · seed {seed}"
    return f"{model} · step {step:,} · {variant}{run}{_corpus(first)}"


def _corpus(path: Path) -> str:
    try:
        return f" · {corpus_of(path)}"
    except UserError:
        return ""


def distinct(records: Iterable[Record], key: str) -> list[str]:
    """Return the different values of a field, sorted; records without it are passed over."""
    return sorted({str(record[key]) for record in records if key in record})


def versions(records: Iterable[Record]) -> dict[str, str]:
    """Return package versions; where jobs differ, every version that was used."""
    used: dict[str, set[str]] = {}
    for record in records:
        for package, version in record["versions"].items():
            used.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(found)) for package, found in sorted(used.items())}
