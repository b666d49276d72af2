"""Snakemake's memory of how results were made, kept beside them so that it travels with them.

Snakemake remembers the settings, code and inputs of every output in ``.snakemake`` of the project
folder. Results that are copied into another clone come without it, and Snakemake then takes them
for right whatever the study says, or makes them again because copying changed their times. So each
run writes what Snakemake knows to ``<results_dir>/metadata.json``, and every call of Snakemake
first takes it back for results that are new to the project folder. An output is known by its bytes;
one that nothing is known about is marked as unfinished, so that it is made again.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from snakemake.persistence import MetadataRecord
from snakemake.persistence.file import FilePersistence

from ke_steps.job.files import hash_file, replacing
from ke_steps.job.records import logs_of, read_record, records_in

FILE = "metadata.json"
KNOWN = Path(".snakemake/known_results")
"""Per results folder, the id of the results that ``.snakemake`` is about."""

Memory = dict[str, Any]
"""``id`` of these results, ``results_dir`` where they lay, and ``outputs``: {path: {"sha256",
"metadata"}}."""


def start(results_dir: Path) -> None:
    """Give results an id when their first run starts."""
    memory = _read(results_dir)
    if not memory["id"]:
        memory["id"] = uuid.uuid4().hex
        _write(results_dir, memory)
    _write_known(results_dir, memory["id"])


def remember(results_dir: Path) -> None:
    """Write beside the results what Snakemake knows of them now."""
    persistence = FilePersistence(nolock=True)
    outputs: dict[str, Any] = {}
    for path, sha256 in _recorded_outputs(results_dir).items():
        metadata = persistence._read_record(path)
        if metadata is not None and not persistence._filter_incomplete_keys([path]):
            outputs[path] = {"sha256": sha256, "metadata": metadata.model_dump()}
    _write(results_dir, _read(results_dir) | {"outputs": outputs})


def recall(results_dir: Path) -> None:
    """Give Snakemake back what it knew of results that came from elsewhere; mark the unknown."""
    memory = _read(results_dir)
    known = _known_file(results_dir)
    if known.is_file() and known.read_text() == memory["id"]:
        return
    if not logs_of(results_dir).is_dir():
        return
    persistence = FilePersistence(nolock=True)
    before, now = memory["results_dir"], str(results_dir)
    kept = {_moved(path, before, now): entry for path, entry in memory["outputs"].items()}
    for path in sorted(kept.keys() | _recorded_outputs(results_dir).keys()):
        if not Path(path).is_file():
            continue
        if path in kept and hash_file(Path(path)) == kept[path]["sha256"]:
            _restore(persistence, path, kept[path]["metadata"], before, now)
        elif not _is_about(persistence._read_record(path), Path(path)):
            persistence._delete_record(path)
            persistence._mark_incomplete(path, None)
    _write_known(results_dir, memory["id"])


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


def _recorded_outputs(results_dir: Path) -> dict[str, str]:
    """Return the sha256 of every output that a job's record names, by where it lies now."""
    outputs = {}
    for record in records_in(logs_of(results_dir)):
        for path, sha256 in read_record(record).get("outputs", {}).items():
            here = _find(Path(path), results_dir)
            if here is not None:
                outputs[str(here)] = sha256
    return outputs


def _find(path: Path, results_dir: Path) -> Path | None:
    """Return an output in a results folder that may have been renamed since; None: not there."""
    if path.is_relative_to(results_dir):
        return path if path.is_file() else None
    tails = (results_dir / Path(*path.parts[start:]) for start in range(1, len(path.parts)))
    return next((tail for tail in tails if tail.is_file()), None)


def _read(results_dir: Path) -> Memory:
    nothing: Memory = {"id": "", "results_dir": str(results_dir), "outputs": {}}
    try:
        return nothing | json.loads((results_dir / FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return nothing


def _write(results_dir: Path, memory: Memory) -> None:
    with replacing(results_dir / FILE) as beside:
        beside.write_text(json.dumps(memory | {"results_dir": str(results_dir)}) + "\n")


def _known_file(results_dir: Path) -> Path:
    return KNOWN / quote(str(results_dir), safe="")


def _write_known(results_dir: Path, id_: str) -> None:
    KNOWN.mkdir(parents=True, exist_ok=True)
    _known_file(results_dir).write_text(id_)
