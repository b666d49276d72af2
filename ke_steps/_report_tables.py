"""The tables of the report: cells for the reader, and the same numbers in full as CSV."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from ke_steps._figure_data import points
from ke_steps._quantities import QUANTITIES, show
from ke_steps._records import Record, subject
from ke_steps.settings import ORIGINAL

MAIN_COLUMNS = (
    ("H", "entropy_nats", "model"),
    ("A", "acquisition", "all/all"),
    ("F", "forgetting", "mean"),
    ("K before", "performance_before", "all/all"),
    ("K after", "performance_after", "all/all"),
    ("P before", "accuracy_before", "mean"),
    ("P after", "accuracy_after", "mean"),
)
MAIN_NOTE = (
    "H and K in nats; A, F and P in percent. ± is half the range between seeds; for H, P"
    " before, and everything with a single seed, half the bootstrap interval."
)
BEFORE_LEARNING = ("entropy_nats", "accuracy_before")
"""Measured once per checkpoint and variant, whatever the recipe."""


class Table(NamedTuple):
    """One table: ``rows`` of cells as shown; ``csv`` is a data URI of the unrounded numbers."""

    name: str
    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
    csv: str


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as a link that needs no other file."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def csv_uri(frame: pd.DataFrame) -> str:
    """Return a frame as a CSV link."""
    return data_uri(frame.to_csv(index=False, lineterminator="\n").encode(), "text/csv")


def stage_table(summary: pd.DataFrame) -> Table:
    """Return the main table: what each original checkpoint knew, learned and forgot."""
    return _measured_table("main", "Every stage", summary, [ORIGINAL])


def variant_table(summary: pd.DataFrame) -> Table | None:
    """Return the same for every variant and its original; None without variants."""
    names = list(summary["variant"].unique())
    changed = summary.loc[summary["variant"] != ORIGINAL, "step"].unique()
    if len(names) == 1:
        return None
    chosen = summary[summary["step"].isin(changed)]
    return _measured_table("variants", "Variants", chosen, names)


def _measured_table(name: str, title: str, summary: pd.DataFrame, variants: Sequence[str]) -> Table:
    states = summary[["model", "step", "variant"]].drop_duplicates()
    pairs = summary[["model", "recipe"]].dropna().drop_duplicates()
    chosen = pairs.merge(states[states["variant"].isin(variants)], on="model")
    shown, full = [], []
    for place in chosen.to_dict("records"):
        cells = {key: place[key] for key in ("model", "recipe", "step", "variant")}
        numbers = cells.copy()
        for label, quantity, group in MAIN_COLUMNS:
            recipe = None if quantity in BEFORE_LEARNING else place["recipe"]
            found = points(
                summary, place["model"], quantity, group, recipe, variant=place["variant"]
            )
            point = found[found["step"] == place["step"]].to_dict("records")
            numbers |= _numbers(quantity, point)
            cells[label] = _cell(quantity, point)
        shown.append(cells | {"step": f"{place['step']:,}"})
        full.append(numbers)
    # A column that says the same in every row says nothing; the CSV keeps it.
    varied = {key: len({row[key] for row in shown}) > 1 for key in ("model", "recipe", "variant")}
    columns = [column for column in shown[0] if varied.get(column, True)]
    rows = [[row[column] for column in columns] for row in shown]
    return Table(name, title, MAIN_NOTE, columns, rows, csv_uri(pd.DataFrame(full)))


def _numbers(quantity: str, found: list[dict[Any, Any]]) -> dict[str, float]:
    names = {"value": quantity, "low": f"{quantity}_low", "high": f"{quantity}_high"}
    return {name: found[0][key] if found else math.nan for key, name in names.items()}


def _cell(quantity: str, found: list[dict[Any, Any]]) -> str:
    if not found or math.isnan(found[0]["value"]):
        return "–"
    point = found[0]
    is_fraction = QUANTITIES[quantity].unit == "fraction"
    scale, digits = (100, 1) if is_fraction else (1, 3)
    half = (point["high"] - point["low"]) / 2
    error = "" if math.isnan(half) else f" ± {scale * half:.{digits}f}"
    return f"{scale * point['value']:.{digits}f}".replace("-", "−") + error


def correlation_table(correlations: pd.DataFrame) -> Table:
    """Return the correlations of entropy with each outcome over the stages."""
    rows = [
        [
            row["model"],
            row["recipe"],
            f"H and {QUANTITIES[row['y']].label}",
            row["method"].capitalize(),
            *_correlation_cells(row),
            str(row["num_points"]),
        ]
        for row in correlations.to_dict("records")
    ]
    note = (
        "Over the stages after the untrained step 0, original checkpoints, mean over seeds. The"
        " interval resamples stages; with few stages trust p more."
    )
    columns = ["model", "recipe", "between", "method", "r", "interval", "p", "stages"]
    return Table("correlations", "Correlations", note, columns, rows, csv_uri(correlations))


def _correlation_cells(row: dict[Any, Any]) -> list[str]:
    if math.isnan(row["value"]):
        return ["–", "too few stages", "–"]
    low, high = show(row["low"], ""), show(row["high"], "")
    return [show(row["value"], ""), f"{low} to {high}", f"{row['p_value']:.2g}"]


def job_table(records: Sequence[Record]) -> Table:
    """Return one row per job that led to the report."""
    full = [
        {
            "step": record["step"],
            "subject": subject(record),
            "wall_seconds": record["wall_seconds"],
            "cpu_seconds": record["cpu_seconds"],
            "peak_memory_mb": record["peak_memory_mb"],
            "device": record.get("device", ""),
            "code": record["code"],
        }
        for record in records
    ]
    rows = [
        [
            row["step"],
            row["subject"],
            f"{row['wall_seconds']:.1f}",
            f"{row['cpu_seconds']:.1f}",
            f"{row['peak_memory_mb']:,.0f}",
            row["device"],
            row["code"],
        ]
        for row in full
    ]
    columns = ["step", "of", "wall s", "CPU s", "peak MB", "device", "code digest"]
    return Table(
        "jobs", "Jobs", "In the order of their start.", columns, rows, csv_uri(pd.DataFrame(full))
    )
