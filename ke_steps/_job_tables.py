"""What the jobs of a report took of their machines: totals by step, and job by job."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from ke_steps._records import Record, subject
from ke_steps._report_tables import Heading, Table, short_table

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


def usage(record: Record) -> dict[str, float]:
    """Return what a job used, NaN for what is not known.

    Its own record holds what its one process used, exactly; Snakemake's benchmark samples its
    children as well. Neither can be more than the truth, so the larger one counts.
    """
    sampled = record.get("benchmark") or {}
    known = {name: _number(record.get(name)) for name in MEASURES}
    for name, column in (("cpu_seconds", "cpu_time"), ("peak_memory_mb", "max_rss")):
        also = _number(sampled.get(column))
        known[name] = known[name] if math.isnan(also) else max(known[name], also)
    return known


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
        {"step": row["step"], "jobs": f"{row['num_jobs']:,}", **cells}
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


def _cells(jobs: pd.DataFrame) -> Sequence[dict[str, str]]:
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
            label: "–" if math.isnan(row[name]) else pattern.format(row[name])
            for label, (name, pattern) in columns.items()
        }
        for row in jobs.to_dict("records")
    ]
