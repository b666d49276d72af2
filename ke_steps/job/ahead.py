"""Answers that lie ready: what a job that had torch loaded did ahead for one that comes later.

An answer is a job's outputs, each in the folder ``ahead`` beside its place, and ``ahead.json``
beside the job's record, written last: the record that the job would have left. The job takes it
when it is of the same step, code, settings, inputs and versions, and otherwise computes by itself.
Being taken, an answer is gone: what is made again is computed again.

A finished job that goes on with another one leaves its own outputs as an answer meanwhile. A kill
then loses nothing: to Snakemake such a job has not ended, so it does it again, which is to take it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ke_steps.job.files import canonical_json, hash_file, write_json
from ke_steps.job.records import Record, files_in, read_record

FOLDER = "ahead"
SAME = ("step", "code", "settings", "inputs")
"""What two records of the same job agree in; an answer is also of the same ``versions``."""


def place_ahead(output: Path) -> Path:
    """Return where an output lies that was made ahead."""
    return output.parent / FOLDER / output.name


def answer_of(record: Path) -> Path:
    """Return where the record of an answer lies, beside that of its job."""
    return record.with_name(f"{FOLDER}.json")


def take(record: Path, outputs: Collection[Path], origin: Mapping[str, Any]) -> Record | None:
    """Move an answer into place and return its record; None if there is none for this job.

    Args:
        record: where the job's own record goes.
        outputs: where its outputs go.
        origin: the provenance of the job.
    """
    answer = answer_of(record)
    told = read_record(answer) if answer.is_file() else {}
    taken = None
    if _agree(told, origin, (*SAME, "versions")) and _is_whole(told, outputs):
        for output in outputs:
            place_ahead(output).replace(output)
        hashes = {str(path): told["outputs"][str(place_ahead(path))] for path in outputs}
        taken = told | {"outputs": hashes}
    discard(record, outputs)
    return taken


def keep(record: Path, outputs: Collection[Path]) -> None:
    """Leave a finished job's own outputs as an answer, as links where the disk has them."""
    hashes = {}
    for output in outputs:
        beside = place_ahead(output)
        beside.parent.mkdir(exist_ok=True)
        beside.unlink(missing_ok=True)
        try:
            os.link(output, beside)
        except OSError:
            shutil.copyfile(output, beside)
        hashes[str(beside)] = hash_file(beside)
    write_json(answer_of(record), read_record(record) | {"outputs": hashes})


def discard(record: Path, outputs: Collection[Path]) -> None:
    """Remove an answer, the record first: without it the rest is none."""
    answer_of(record).unlink(missing_ok=True)
    for folder in {place_ahead(output).parent for output in outputs}:
        shutil.rmtree(folder, ignore_errors=True)


def is_wanted(record: Path, outputs: Collection[Path], origin: Mapping[str, Any]) -> bool:
    """Tell whether a job has neither begun nor, with the same provenance, been done."""
    if has_begun(record):
        return False
    done = read_record(record) if record.is_file() else {}
    return not (_agree(done, origin, SAME) and all(output.is_file() for output in outputs))


def has_begun(record: Path) -> bool:
    """Tell whether a job runs, or was cut off: it has a log, but no record yet."""
    return files_in(record.parent).log.is_file() and not record.is_file()


def _agree(told: Record, origin: Mapping[str, Any], keys: Collection[str]) -> bool:
    return all(
        key in told and canonical_json(told[key]) == canonical_json(origin[key]) for key in keys
    )


def _is_whole(told: Record, outputs: Collection[Path]) -> bool:
    made = told["outputs"]
    beside = map(place_ahead, outputs)
    return all(path.is_file() and hash_file(path) == made.get(str(path)) for path in beside)
