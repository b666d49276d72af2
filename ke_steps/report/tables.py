"""The tables of the report: cells for the reader, and the same numbers in full as CSV."""

from __future__ import annotations

import base64
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import over_seeds
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACCURACY_BEFORE,
    ACQUISITION,
    ALL_PROBES,
    ALL_TASKS,
    BEFORE_LEARNING,
    ENTROPY,
    FORGETTING,
    KNOWLEDGE_AFTER,
    KNOWLEDGE_BEFORE,
    QUANTITIES,
    WHOLE_MODEL,
    Measure,
    number,
    show,
)
from ke_steps.summary.runs import left_out, lost_states

MAX_ROWS = 200
"""A page with more cannot be read, and is slow on a phone; the CSV has every row."""

DIVERGED = "diverged"
"""Instead of a number where every run diverged."""

MAIN_NOTE = (
    "H and K in nats; A, F and P in percent. ± is half the range between seeds; for H, P"
    " before, and everything with a single seed, half the bootstrap interval."
)


UNDEFINED_NOTE = "A dash where something was measured: nothing defines it there."


class Column(NamedTuple):
    """One measure of the summary as a column."""

    label: str
    measure: Measure


MAIN_COLUMNS = (
    Column("H", ENTROPY),
    Column("A", ACQUISITION),
    Column("F", FORGETTING),
    Column("K before", KNOWLEDGE_BEFORE),
    Column("K after", KNOWLEDGE_AFTER),
    Column("P before", ACCURACY_BEFORE),
    Column("P after", ACCURACY_AFTER),
)


class Table(NamedTuple):
    """One table: ``rows`` of cells as shown; ``csv`` is a data URI of the unrounded numbers."""

    name: str
    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
    csv: str


class Heading(NamedTuple):
    """What a table is called: ``name`` names its CSV."""

    name: str
    title: str
    note: str


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as a link that needs no other file."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def csv_uri(frame: pd.DataFrame) -> str:
    """Return a frame as a CSV link."""
    return data_uri(frame.to_csv(index=False, lineterminator="\n").encode(), "text/csv")


def short_table(heading: Heading, rows: Sequence[dict[str, str]], full: pd.DataFrame) -> Table:
    """Return a table of the first ``MAX_ROWS`` rows, whose keys are equal; ``full`` is its CSV."""
    name, title, note = heading
    if len(rows) > MAX_ROWS:
        note = f"{note} The first {MAX_ROWS} of {len(rows):,} rows; the CSV has all.".strip()
    shown = rows[:MAX_ROWS]
    columns = list(shown[0]) if shown else []
    return Table(name, title, note, columns, [list(row.values()) for row in shown], csv_uri(full))


def stage_table(summary: pd.DataFrame) -> Table:
    """Return the main table: what each original checkpoint knew, learned and forgot."""
    places = runs_and_states(summary[summary["variant"] == ORIGINAL])
    heading = Heading("main", "Every stage", MAIN_NOTE)
    return measured_table(heading, summary, MAIN_COLUMNS, places)


def variant_table(summary: pd.DataFrame) -> Table | None:
    """Return the same for every variant and its original; None without variants."""
    keys = ["model", "step", "recipe"]
    changed = summary.loc[summary["variant"] != ORIGINAL, keys].drop_duplicates()
    if changed.empty:
        return None
    places = runs_and_states(summary.merge(changed, on=keys))
    heading = Heading("variants", "Variants", MAIN_NOTE)
    return measured_table(heading, summary, MAIN_COLUMNS, places)


def runs_and_states(summary: pd.DataFrame) -> pd.DataFrame:
    """Return model, recipe, step, variant of what learned, by recipe, then of what never did."""
    states = ["model", "step", "variant"]
    places = summary[["model", "recipe", "step", "variant"]].drop_duplicates()
    runs = places.dropna(subset="recipe")
    idle = places[places["recipe"].isna()].merge(runs[states], how="left", indicator=True)
    idle = idle[idle["_merge"] == "left_only"].drop(columns="_merge")
    by_recipe = [found for _, found in runs.groupby(["model", "recipe"], sort=False)]
    return pd.concat([*by_recipe, idle])


def measured_table(
    heading: Heading, summary: pd.DataFrame, columns: Sequence[Column], places: pd.DataFrame
) -> Table:
    """Return a row per place (model, recipe, step, variant) with a cell per column.

    ``summary`` is marked, as by ``runs.mark``: runs that diverged are in no number. Of model,
    recipe and variant those that say the same in every row say nothing and are left out; the CSV
    keeps them.
    """
    measured = _index(summary[summary["diverged_at_step"].isna()], columns)
    is_undefined = False
    lost = lost_states(summary)
    shown, full = [], []
    for place in places.fillna({"recipe": ""}).to_dict("records"):
        cells = {"model": place["model"], "recipe": place["recipe"] or "–"}
        cells |= {"step": f"{place['step']:,}", "variant": place["variant"]}
        numbers = {key: place[key] for key in cells}
        for column in columns:
            recipe = "" if column.measure in BEFORE_LEARNING else place["recipe"]
            state = (place["model"], place["step"], place["variant"], recipe)
            point = measured.get((*state, *column.measure))
            numbers |= _numbers(column.measure, point)
            is_undefined |= point is not None and math.isnan(point["value"])
            cells[column.label] = DIVERGED if state in lost else cell(column.measure.unit, point)
        shown.append(cells)
        full.append(numbers)
    varied = {key for key in ("model", "recipe", "variant") if len({row[key] for row in shown}) > 1}
    kept = {"step", *varied, *(column.label for column in columns)}
    rows = [{key: text for key, text in row.items() if key in kept} for row in shown]
    if is_undefined:
        heading = heading._replace(note=f"{heading.note} {UNDEFINED_NOTE}")
    return short_table(noted(heading, summary), rows, pd.DataFrame(full))


def noted(heading: Heading, summary: pd.DataFrame) -> Heading:
    """Return a heading whose note says how many runs of a marked summary are in no mean."""
    if words := left_out(summary):
        return heading._replace(note=f"{heading.note} {words} and are left out: see Every run.")
    return heading


def _index(summary: pd.DataFrame, columns: Sequence[Column]) -> dict[Hashable, dict[Any, Any]]:
    """Return {(model, step, variant, recipe or "", quantity, group): {value, low, high}}."""
    keys = ["model", "step", "variant", "recipe", "quantity", "group"]
    rows = summary[summary["quantity"].isin({column.measure.quantity for column in columns})]
    return over_seeds(rows.fillna({"recipe": ""}), keys).set_index(keys).to_dict("index")


def _numbers(measure: Measure, point: Mapping[Any, float] | None) -> dict[str, float]:
    quantity, group = measure
    is_whole = group in (WHOLE_MODEL, ALL_TASKS, ALL_PROBES)
    stem = quantity if is_whole else f"{group}/{quantity}"
    names = {"value": stem, "low": f"{stem}_low", "high": f"{stem}_high"}
    return {name: point[key] if point else math.nan for key, name in names.items()}


def cell(unit: str, point: Mapping[Any, float] | None) -> str:
    """Write a point (value, low, high) as value ± half its interval; fractions in percent."""
    if point is None or math.isnan(point["value"]):
        return "–"
    half = (point["high"] - point["low"]) / 2
    error = "" if math.isnan(half) else f" ± {number(half, unit)}"
    return number(point["value"], unit) + error


def correlation_table(correlations: pd.DataFrame) -> Table:
    """Return the correlations of the entropies with each outcome over the stages."""
    rows = [
        {
            "model": row["model"],
            "recipe": row["recipe"],
            "between": f"{_short(row['x'])} and {_short(row['y'])}",
            "method": row["method"].capitalize(),
            **_correlation_cells(row),
            "stages": str(row["num_points"]),
        }
        for row in correlations.to_dict("records")
    ]
    note = (
        "Over the stages after the untrained step 0, original checkpoints, mean over seeds. The"
        " interval resamples stages; with few stages trust p more."
    )
    return short_table(Heading("correlations", "Correlations", note), rows, correlations)


def _short(quantity: str) -> str:
    return QUANTITIES[quantity].label.removeprefix("knowledge ").removeprefix("entropy ")


def _correlation_cells(row: dict[Any, Any]) -> dict[str, str]:
    if math.isnan(row["value"]):
        return {"r": "–", "interval": "too few stages", "p": "–"}
    low, high = show(row["low"], ""), show(row["high"], "")
    return {
        "r": show(row["value"], ""),
        "interval": f"{low} to {high}",
        "p": f"{row['p_value']:.2g}",
    }
