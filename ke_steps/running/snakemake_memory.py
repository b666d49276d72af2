"""Snakemake's memory of how results were made, kept beside them so that it travels with them.

Snakemake remembers the settings, code and inputs of every output in ``.snakemake`` of the project
folder. Results that are copied into another clone come without it, and Snakemake then takes them
for right whatever the study says, or makes them again because copying changed their times. So each
run writes what Snakemake knows to ``<results_dir>/metadata.jsonl``, and every call of Snakemake
first takes it back for results that are new to the project folder. An output is known by its bytes;
one that nothing is known about is marked as unfinished, so that it is made again.

The file begins with a line ``{"id", "results_dir"}``: of these results, and where they lay. Then
comes a line ``{"path", "sha256", "metadata"}`` per output; of several the last counts. The end of a
run adds those of jobs whose records it has not taken in yet, whenever they ran and whatever any
clock said. ``.snakemake`` holds which it has; where that does not go with the file, as after a kill
in the midst of a line, the file is written anew.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from snakemake.persistence import MetadataRecord
from snakemake.persistence.file import FilePersistence

from ke_steps.job.files import hash_file, replacing, write_json
from ke_steps.job.records import logs_of, read_record, records_in

FILE = "metadata.jsonl"
FORMER_FILE = "metadata.json"
"""One object with all outputs, as earlier versions wrote it: the next end of a run replaces it."""

KNOWN = Path(".snakemake/known_results")
"""Per results folder, the id of the results that ``.snakemake`` is about; ``.json``: what of them
has been taken in."""

SPARE_BYTES = 4_000_000
"""The file is written anew where it would be so much larger than twice what it was at first. Bytes
count, not lines: those of the summary's tables name all that it reads."""


class Output(NamedTuple):
    """What is remembered of an output."""

    sha256: str
    metadata: dict[str, Any]


class Memory(NamedTuple):
    """What lies beside results: where they lay, and their outputs by path."""

    results_dir: str
    outputs: dict[str, Output]


class TakenIn(NamedTuple):
    """What the file beside the results holds.

    Attributes:
        num_bytes: its size.
        first_bytes: its size when it was last written anew.
        records: time in ns and size of each record whose outputs are in it, by path.
    """

    num_bytes: int
    first_bytes: int
    records: dict[str, list[int]]


def start(results_dir: Path) -> None:
    """Give results an id when their first run starts."""
    id_ = _read_id(results_dir)
    if not id_:
        id_ = uuid.uuid4().hex
        _write(results_dir, id_, [])
    _write_known(results_dir, id_)


def remember(results_dir: Path) -> None:
    """Write beside the results what Snakemake knows of them now, as far as it is new."""
    stamps = {str(path): _stamp(path) for path in records_in(logs_of(results_dir))}
    before = _read_taken_in(results_dir)
    if before is not None:
        new = [path for path, stamp in stamps.items() if before.records.get(path) != stamp]
        lines, whole = _lines(new, results_dir)
        num_bytes = before.num_bytes + sum(map(len, lines))
        if num_bytes <= 2 * before.first_bytes + SPARE_BYTES:
            with (results_dir / FILE).open("a") as file:
                file.writelines(lines)
            records = before.records | {path: stamps[path] for path in whole}
            _write_taken_in(results_dir, num_bytes, before.first_bytes, records)
            return
    lines, whole = _lines(stamps, results_dir)
    _write(results_dir, _read_id(results_dir), lines)
    (results_dir / FORMER_FILE).unlink(missing_ok=True)
    num_bytes = (results_dir / FILE).stat().st_size
    _write_taken_in(results_dir, num_bytes, num_bytes, {path: stamps[path] for path in whole})


def _lines(records: Iterable[str], results_dir: Path) -> tuple[list[str], list[str]]:
    """Return the lines of outputs that records name, and the records of which none is missing."""
    persistence = FilePersistence(nolock=True)
    lines, whole = [], []
    for record in records:
        outputs = _outputs(Path(record), results_dir)
        known = {path: persistence._read_record(path) for path in outputs}
        unfinished = set(persistence._filter_incomplete_keys(list(outputs)))
        found = {p: each for p, each in known.items() if each and p not in unfinished}
        for path, metadata in found.items():
            line = {"path": path, "sha256": outputs[path], "metadata": metadata.model_dump()}
            lines.append(json.dumps(line) + "\n")
        if len(found) == len(outputs):
            whole.append(record)
    return lines, whole


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_mtime_ns, found.st_size]


def recall(results_dir: Path) -> None:
    """Give Snakemake back what it knew of results that came from elsewhere; mark the unknown."""
    id_, known = _read_id(results_dir), _known_file(results_dir)
    if known.is_file() and known.read_text() == id_:
        return
    if not logs_of(results_dir).is_dir():
        return
    _taken_in_file(results_dir).unlink(missing_ok=True)
    persistence = FilePersistence(nolock=True)
    memory, now = _read(results_dir), str(results_dir)
    before = memory.results_dir
    kept = {_moved(path, before, now): output for path, output in memory.outputs.items()}
    recorded = {
        path
        for record in records_in(logs_of(results_dir))
        for path in _outputs(record, results_dir)
    }
    for path in sorted(kept.keys() | recorded):
        if not Path(path).is_file():
            continue
        if path in kept and hash_file(Path(path)) == kept[path].sha256:
            _restore(persistence, path, kept[path].metadata, before, now)
        elif not _is_about(persistence._read_record(path), Path(path)):
            persistence._delete_record(path)
            persistence._mark_incomplete(path, None)
    _write_known(results_dir, id_)


def _restore(
    persistence: FilePersistence, path: str, metadata: dict[str, Any], before: str, now: str
) -> None:
    metadata = metadata | {
        "input": [_moved(each, before, now) for each in metadata["input"]],
        "input_checksums": {
            _moved(each, before, now): sum_ for each, sum_ in metadata["input_checksums"].items()
        },
    }
    persistence._write_record(path, MetadataRecord.model_validate(metadata))
    persistence._unmark_incomplete(path)
    with suppress(PermissionError):  # its age matters for very large files only
        os.utime(path, (metadata["endtime"], metadata["endtime"]))


def _is_about(metadata: MetadataRecord | None, path: Path) -> bool:
    """Tell whether Snakemake's own memory is of this file, by its time."""
    return metadata is not None and metadata.endtime == path.stat().st_mtime


def _moved(path: str, before: str, now: str) -> str:
    """Return where a path lies after its results folder was renamed."""
    return now + path.removeprefix(before) if path.startswith(f"{before}/") else path


def _outputs(record: Path, results_dir: Path) -> dict[str, str]:
    """Return the sha256 of each output that a job's record names, by where it lies now."""
    found = (
        (_find(Path(path), results_dir), sha256)
        for path, sha256 in read_record(record).get("outputs", {}).items()
    )
    return {str(here): sha256 for here, sha256 in found if here is not None}


def _find(path: Path, results_dir: Path) -> Path | None:
    """Return an output in a results folder that may have been renamed since; None: not there."""
    if path.is_relative_to(results_dir):
        return path if path.is_file() else None
    tails = (results_dir / Path(*path.parts[start:]) for start in range(1, len(path.parts)))
    return next((tail for tail in tails if tail.is_file()), None)


def _read_id(results_dir: Path) -> str:
    for name in (FILE, FORMER_FILE):
        with suppress(FileNotFoundError), (results_dir / name).open() as file:
            return str(_object(file.readline()).get("id", ""))
    return ""


def _read(results_dir: Path) -> Memory:
    """Return what lies beside results; a last line that a kill has cut short counts for nothing."""
    if (results_dir / FILE).is_file():
        with (results_dir / FILE).open() as file:
            found = [_object(line) for line in file]
        lines = [each for each in found if "path" in each]
        where = next(iter(found), {}).get("results_dir", str(results_dir))
        return Memory(where, {e["path"]: Output(e["sha256"], e["metadata"]) for e in lines})
    if (results_dir / FORMER_FILE).is_file():
        former = json.loads((results_dir / FORMER_FILE).read_text())
        outputs = {path: Output(**each) for path, each in former["outputs"].items()}
        return Memory(former["results_dir"], outputs)
    return Memory(str(results_dir), {})


def _object(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except json.JSONDecodeError:
        return {}


def _write(results_dir: Path, id_: str, lines: Iterable[str]) -> None:
    with replacing(results_dir / FILE) as beside, beside.open("w") as file:
        file.write(json.dumps({"id": id_, "results_dir": str(results_dir)}) + "\n")
        file.writelines(lines)


def _known_file(results_dir: Path) -> Path:
    return KNOWN / quote(str(results_dir), safe="")


def _write_known(results_dir: Path, id_: str) -> None:
    KNOWN.mkdir(parents=True, exist_ok=True)
    _known_file(results_dir).write_text(id_)


def _taken_in_file(results_dir: Path) -> Path:
    return KNOWN / f"{quote(str(results_dir), safe='')}.json"


def _read_taken_in(results_dir: Path) -> TakenIn | None:
    """Return what has been taken in; None where nothing tells of the file as it is now."""
    try:
        found = TakenIn(**json.loads(_taken_in_file(results_dir).read_text()))
        is_same = (results_dir / FILE).stat().st_size == found.num_bytes
    except (FileNotFoundError, TypeError):  # none yet; of an earlier version
        return None
    return found if is_same else None


def _write_taken_in(
    results_dir: Path, num_bytes: int, first_bytes: int, records: dict[str, list[int]]
) -> None:
    taken_in = TakenIn(num_bytes, first_bytes, records)
    write_json(_taken_in_file(results_dir), taken_in._asdict())
