"""The record of a job: where it lies, how it is read, and that its outputs are still as it says.

The files that tell of a job lie in ``<results>/logs/<rule>/<place>/``, its outputs at
``<results>/<rule>/<place>/…`` or deeper. The command line of every step writes the record: step,
code, settings, input hashes, versions, outputs with hashes, times, memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ke_steps.job.errors import UserError

LOGS, LOG, RECORD = "logs", "log.txt", "record.json"

Record = dict[str, Any]


class JobFiles(NamedTuple):
    """The files that tell of a job.

    Attributes:
        log: what its step said.
        record: what it read, wrote and used, as JSON; written last.
    """

    log: Path
    record: Path


def files_of(results: Path, rule: str, place: str) -> JobFiles:
    """Return the files of a job; the only one of its rule has the empty place."""
    return files_in(logs_of(results) / rule / place)


def files_in(folder: Path) -> JobFiles:
    """Return the files of the job that has this folder."""
    return JobFiles(folder / LOG, folder / RECORD)


def logs_of(results: Path) -> Path:
    """Return the folder of the files of all jobs; it holds one folder per rule."""
    return results / LOGS


def results_of(path: Path, rule: str = "") -> Path | None:
    """Return the results folder of a file that tells of a job; None if it lies in none.

    Args:
        path: the file.
        rule: begins with the name of the rule's folder. It tells the folder of all jobs from one
            of a place that is called the same.
    """
    for folder in path.parents:
        if folder.parent.name == LOGS and (not rule or rule.startswith(folder.name)):
            return folder.parent.parent
    return None


def place_of(path: Path, results: Path) -> str:
    """Return the place of the job that has a file among those of all jobs."""
    return "/".join(path.relative_to(logs_of(results)).parts[1:-1])


def records_in(folder: Path) -> Iterator[Path]:
    """Yield the records in a folder of jobs, such as that of all or of one rule."""
    for path, _, files in os.walk(folder):
        if RECORD in files:
            yield Path(path, RECORD)


def read_record(path: Path) -> Record:
    """Return a record; one that a kill has cut short is empty."""
    try:
        found = json.loads(path.read_text())
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def refuse_changed(
    inputs: Mapping[str, Path], hashes: Mapping[str, str], record: Path | None
) -> None:
    """Refuse an input that is not what its job recorded; one without a record passes.

    Args:
        inputs: paths by name.
        hashes: the sha256 of each now.
        record: where the running job's own record goes, which tells where the others are.

    Raises:
        UserError: an input has another content than its job wrote.
    """
    results = results_of(record) if record else None
    if results is None:
        return
    for name, path in inputs.items():
        written = _find_output(path, results)
        if written is not None and written != hashes[name]:
            rule = path.relative_to(results).parts[0]
            raise UserError(
                f"{path}: not what {rule} wrote (its sha256 is not the one in the job's"
                " record.json): delete it and run again"
            )


def _find_output(path: Path, results: Path) -> str | None:
    """Return the sha256 that the job which wrote a file recorded."""
    if not path.is_relative_to(results):
        return None
    place = path.relative_to(results).parent
    for folder in (place, *place.parents[:-1]):
        record = files_in(logs_of(results) / folder).record
        if record.is_file():
            return _outputs(record).get(str(path))
    return None


def _outputs(record: Path) -> dict[str, str]:
    try:
        outputs: dict[str, str] = json.loads(record.read_text())["outputs"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{record}: not a readable job record ({error}): delete it and run again"
        ) from error
    return outputs
