"""Which jobs led to a report, on what machine, in what time: totals by step, and job by job.

Records are traced backwards by content: a job led to the report when its output, still on disk as
recorded, is an input of the report or of a job that led to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ke_steps.artefacts.places import corpus_of, identify, shard_of
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file
from ke_steps.job.records import Record, logs_of, read_record, records_in
from ke_steps.report.cells import MISSING, Cell, Entry
from ke_steps.report.tables import Heading, Table, short_table

MEASURES = (
    "wall_seconds",
    "cpu_seconds",
    "peak_memory_mb",
    "peak_gpu_memory_mb",
    "mean_gpu_utilisation",
)
BY_STEP = Heading(
    "jobs_by_step",
    "Time and memory by step",
    "Time is summed over the jobs of a step, memory that of the largest, and utilisation the mean"
    " over their time.",
)
JOBS = Heading("jobs", "Jobs", "In the order of their start.")


class Trace(NamedTuple):
    """The records that led to a report, in the order of their start, and how many did not."""

    records: list[Record]
    num_left_out: int


def trace_jobs(results: Path, inputs: Iterable[Path]) -> Trace:
    """Return the records of a results folder that led to the files ``inputs``.

    Jobs are linked by the hashes that they recorded: each refused an input that was not as its
    record says. Only ``inputs`` are hashed here, not all results of a study.
    """
    every = [read_record(path) for path in sorted(records_in(logs_of(results)))]
    current = [record for record in every if _is_whole(record)]
    wanted = {hash_file(path) for path in inputs}
    led: list[Record] = []
    while found := [r for r in current if wanted & set(r["outputs"].values())]:
        current = [r for r in current if not wanted & set(r["outputs"].values())]
        led.extend(found)
        wanted.update(digest for record in found for digest in record["inputs"].values())
    led.sort(key=lambda record: record["started_unix_seconds"])
    return Trace(led, len(every) - len(led))


def _is_whole(record: Record) -> bool:
    return "outputs" in record and all(Path(path).is_file() for path in record["outputs"])


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


def job_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return a row per job: step, subject, the measures (NaN where unknown), device, code."""
    names = ["step", "subject", *MEASURES, "device", "code"]
    rows = [
        {
            "step": record["step"],
            "subject": subject(record),
            **usage(record),
            "device": record.get("device", ""),
            "code": record["code"],
        }
        for record in records
    ]
    return pd.DataFrame(rows, columns=names)


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


def usage(record: Record) -> dict[str, float]:
    """Return what a job used, NaN for what is not known."""
    return {name: _number(record.get(name)) for name in MEASURES}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def step_table(jobs: pd.DataFrame) -> Table:
    """Return the totals by step, in the order in which the steps began."""
    rows = []
    for step, found in jobs.groupby("step", sort=False):
        busy = found.dropna(subset="mean_gpu_utilisation")
        seconds = busy["wall_seconds"].sum()
        utilisation = (busy["mean_gpu_utilisation"] * busy["wall_seconds"]).sum()
        rows.append(
            {
                "step": step,
                "num_jobs": len(found),
                "wall_seconds": found["wall_seconds"].sum(),
                "cpu_seconds": found["cpu_seconds"].sum(),
                "peak_memory_mb": found["peak_memory_mb"].max(),
                "peak_gpu_memory_mb": found["peak_gpu_memory_mb"].max(),
                "mean_gpu_utilisation": utilisation / seconds if seconds else math.nan,
            }
        )
    full = pd.DataFrame(rows, columns=["step", "num_jobs", *MEASURES])
    shown = [
        {"step": row["step"], "jobs": row["num_jobs"], **cells}
        for row, cells in zip(full.to_dict("records"), _cells(full), strict=True)
    ]
    return short_table(BY_STEP, shown, full)


def job_table(jobs: pd.DataFrame) -> Table:
    """Return one row per job that led to the report."""
    shown = [
        {
            "step": row["step"],
            "of": row["subject"],
            **cells,
            "device": row["device"],
            "code digest": row["code"],
        }
        for row, cells in zip(jobs.to_dict("records"), _cells(jobs), strict=True)
    ]
    return short_table(JOBS, shown, jobs)


def _cells(jobs: pd.DataFrame) -> Sequence[dict[str, Entry]]:
    """Return the measures for a reader; those of GPUs only where a job used one."""
    columns = {
        "wall s": ("wall_seconds", "{:,.1f}"),
        "CPU s": ("cpu_seconds", "{:,.1f}"),
        "peak MB": ("peak_memory_mb", "{:,.0f}"),
    }
    if jobs["peak_gpu_memory_mb"].notna().any():
        columns["peak GPU MB"] = ("peak_gpu_memory_mb", "{:,.0f}")
        columns["GPU busy"] = ("mean_gpu_utilisation", "{:.0%}")
    return [
        {
            label: MISSING if math.isnan(row[name]) else Cell(pattern.format(row[name]), row[name])
            for label, (name, pattern) in columns.items()
        }
        for row in jobs.to_dict("records")
    ]
