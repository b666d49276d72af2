"""Job records: which jobs led to a report, on what machine, in what time.

The command line of every step writes a record beside the results
(``<results_dir>/logs/<rule>/…/record.json``): step, code, settings, input hashes, versions, outputs
with hashes, times, memory; Snakemake its own measure of the job's processes beside that
(``benchmark.jsonl``). Records are traced backwards by content: a job led to the report when its
output, still on disk as recorded, is an input of the report or of a job that led to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ke_steps._errors import UserError
from ke_steps._identity import corpus_of, identify, shard_of
from ke_steps._job_files import hash_file

Record = dict[str, Any]


class Trace(NamedTuple):
    """The records that led to a report, in the order of their start, and how many did not."""

    records: list[Record]
    num_left_out: int


def trace(logs: Path, inputs: Iterable[Path]) -> Trace:
    """Return the records under ``logs`` that led to the files ``inputs``."""
    every = [_read(path) for path in sorted(logs.rglob("*.json"))]
    current = [record for record in every if _is_current(record)]
    wanted = {hash_file(path) for path in inputs}
    led: list[Record] = []
    while found := [r for r in current if wanted & set(r["outputs"].values())]:
        current = [r for r in current if not wanted & set(r["outputs"].values())]
        led.extend(found)
        wanted.update(digest for record in found for digest in record["inputs"].values())
    led.sort(key=lambda record: record["started_unix_seconds"])
    return Trace(led, len(every) - len(led))


def _read(path: Path) -> Record:
    """Return a record, with Snakemake's last measure as ``benchmark`` where there is one.

    A record that a kill has cut short is one of a job that led to nothing.
    """
    record = _object(path.read_text())
    measured = path.with_name("benchmark.jsonl")
    lines = measured.read_text().splitlines() if measured.is_file() else []
    return record | {"benchmark": _object(lines[-1])} if lines else record


def _object(text: str) -> Record:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_current(record: Record) -> bool:
    if "outputs" not in record:
        return False
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
    shard = "" if shard_of(first) is None else f" · shard {shard_of(first)}"
    return f"{model} · step {step:,} · {variant}{run}{_corpus(first)}{shard}"


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
