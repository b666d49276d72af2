"""Jobs that were done before, with the time that they took: the records of a results folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ke_steps.job.records import Record, logs_of, place_of, read_record, records_in
from ke_steps.planning.durations import Measured
from ke_steps.planning.planned_jobs import PlannedJob

MAX_RECORDS = 50
"""Records that are read of the folder of a rule: a mean needs no more."""


def measured_before(
    results: Path, jobs: Iterable[PlannedJob], *, without_gpu: bool = False
) -> list[Measured]:
    """Return those of a study's jobs that left a record, with their seconds.

    Args:
        results: the study's results folder.
        jobs: the study's jobs.
        without_gpu: whether to leave out those that used one.
    """
    at: dict[str, list[PlannedJob]] = {}
    for job in jobs:
        at.setdefault(job.place, []).append(job)
    return [
        Measured(job, seconds)
        for place, record in _records(results)
        if not (without_gpu and record.get("peak_gpu_memory_mb"))
        for job in _of_step(at.get(place, []), record["step"])
        if (seconds := _seconds(record)) is not None
    ]


def _records(results: Path) -> Iterator[tuple[str, Record]]:
    """Yield places with their records; one that a kill has cut short is passed over."""
    for folder in sorted(logs_of(results).glob("*/")):
        for path in islice(records_in(folder), MAX_RECORDS):
            with suppress(OSError):
                record = read_record(path)
                if "step" in record:
                    yield place_of(path, results), record


def _of_step(jobs: Iterable[PlannedJob], step: str) -> list[PlannedJob]:
    """Return the jobs of a step among those of a place: its rules begin with its name."""
    return [job for job in jobs if job.rule.startswith(step)]


def _seconds(record: Record) -> float | None:
    seconds = record.get("wall_seconds")
    return float(seconds) if isinstance(seconds, int | float) else None
