"""The tables of the report: cells for the reader, and the same numbers in full as CSV."""

from __future__ import annotations

import base64
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ke_steps.report.cells import MISSING, Entry, estimated, lay_out
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACCURACY_BEFORE,
    ACQUISITION,
    ACQUISITION_FROM_ORIGINAL,
    ALL_PROBES,
    ALL_TASKS,
    BEFORE_LEARNING,
    BITS_AFTER,
    BITS_BEFORE,
    CONTRIBUTION_ENTROPY,
    ENTROPY,
    EXACT_MATCH_AFTER,
    FORGETTING,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    KNOWLEDGE_BEFORE,
    SENSITIVITY,
    WHOLE_MODEL,
    Measure,
)
from ke_steps.summary.runs import left_out, lost_states

MAX_ROWS = 200
"""A page with more cannot be read, and is slow on a phone; the CSV has every row."""

DIVERGED = "diverged"
"""Instead of a number where every run diverged."""

OF_TEXT = "In brackets its interval, of sampling text, by bootstrap."
ERROR_BAR = (
    "In brackets the interval of the mean over seeds. It holds both errors: of sampling (text,"
    " passages or items; by bootstrap), and between seeds where there are several. The CSV says of"
    " what each interval is."
)
VARIANT_NOTE = (
    "As above. H of contributions, |c| · ‖v‖, a gauge leaves alone. A compares each variant with"
    " itself before learning, A* with the original: its K after against the original's K before. F"
    " above chance is the lost part of what P was above chance."
)

TOLD_ONCE = {
    *(measure.quantity for measure in (*BEFORE_LEARNING, CONTRIBUTION_ENTROPY)),
    SENSITIVITY,
}
"""Whose rows name no recipe."""

ESTIMATE = ["value", "low", "high", "interval_kind", "num_seeds", "num_items"]
"""What every CSV of means says of each."""

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
    Column("bits before", BITS_BEFORE),
    Column("bits after", BITS_AFTER),
    Column("exact match", EXACT_MATCH_AFTER),
)
COMPARED_COLUMNS = (
    MAIN_COLUMNS[0],
    Column("H of contributions", CONTRIBUTION_ENTROPY),
    MAIN_COLUMNS[1],
    Column("A*", ACQUISITION_FROM_ORIGINAL),
    MAIN_COLUMNS[2],
    Column("F above chance", FORGETTING_ABOVE_CHANCE),
    *MAIN_COLUMNS[3:],
)
"""Of the variants, which differ before learning."""


UNITS = {
    "in nats": {ENTROPY: "H", KNOWLEDGE_AFTER: "K"},
    "in percent": {
        ACQUISITION: "A",
        FORGETTING: "F",
        ACCURACY_BEFORE: "P",
        EXACT_MATCH_AFTER: "exact match (of new knowledge, after learning)",
    },
    "of held-out text": {BITS_BEFORE: "bits per token"},
}
"""What the note of the main table says of the columns that it has."""


class Results(NamedTuple):
    """What the tables are made of."""

    summary: pd.DataFrame
    """Marked, as by ``runs.mark``: every run, also those that diverged."""
    estimates: pd.DataFrame
    """The means over the others."""

    def of(self, column: str, *values: str) -> Results:
        """Return the rows of both tables in which a column has one of these values."""
        return Results(*(table[table[column].isin(values)] for table in self))


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


def short_table(heading: Heading, rows: Sequence[Mapping[str, Entry]], full: pd.DataFrame) -> Table:
    """Return a table of the first ``MAX_ROWS`` rows, whose keys are equal; ``full`` is its CSV."""
    name, title, note = heading
    if len(rows) > MAX_ROWS:
        note = f"{note} The first {MAX_ROWS} of {len(rows):,} rows; the CSV has all.".strip()
    columns, shown = lay_out(rows[:MAX_ROWS])
    return Table(name, title, note, columns, shown, csv_uri(full))


def stage_table(results: Results) -> Table:
    """Return the main table: what each original checkpoint knew, learned and forgot."""
    places = runs_and_states(results.summary[results.summary["variant"] == ORIGINAL])
    heading = Heading("main", "Every stage", _main_note(results.summary))
    return measured_table(heading, results, MAIN_COLUMNS, places)


def _main_note(summary: pd.DataFrame) -> str:
    known = set(summary["quantity"].unique())
    told = {
        unit: [name for measure, name in names.items() if measure.quantity in known]
        for unit, names in UNITS.items()
    }
    units = [f"{_and(names)} {unit}" for unit, names in told.items() if names]
    bar = ERROR_BAR if summary["recipe"].notna().any() or BITS_BEFORE.quantity in known else OF_TEXT
    return f"{'; '.join(units)}. {bar}"


def _and(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def variant_table(results: Results) -> Table | None:
    """Return the same for every variant and its original, with A*; None without variants."""
    keys = ["model", "step", "recipe"]
    summary = results.summary
    changed = summary.loc[summary["variant"] != ORIGINAL, keys].drop_duplicates()
    if changed.empty:
        return None
    places = runs_and_states(summary.merge(changed, on=keys))
    heading = Heading("variants", "Variants", VARIANT_NOTE)
    return measured_table(heading, results, COMPARED_COLUMNS, places)


def runs_and_states(summary: pd.DataFrame) -> pd.DataFrame:
    """Return model, recipe, step, variant of what learned, by recipe and step.

    What never learned, such as an untrained step 0, stands among the steps of the first recipe.
    """
    states = ["model", "step", "variant"]
    found = summary[["model", "recipe", "step", "variant"]].drop_duplicates()
    runs = found.dropna(subset="recipe")
    idle = found[found["recipe"].isna()].merge(runs[states], how="left", indicator=True)
    idle = idle[idle["_merge"] == "left_only"].drop(columns="_merge")
    places = pd.concat([runs, idle], ignore_index=True)
    models, recipes = (list(found[name].dropna().unique()) for name in ("model", "recipe"))
    rank = places["recipe"].map(recipes.index, na_action="ignore").astype(float)
    rank = rank.fillna(rank.groupby(places["model"]).transform("min"))
    order = {"model": places["model"].map(models.index), "rank": rank, "step": places["step"]}
    return places.loc[pd.DataFrame(order).sort_values(list(order)).index]


def measured_table(
    heading: Heading, results: Results, columns: Sequence[Column], places: pd.DataFrame
) -> Table:
    """Return a row per place (model, recipe, step, variant), a cell per column that has data.

    Of model, recipe and variant those that say the same in every row say nothing and are left out;
    the CSV keeps them.
    """
    estimates = _index(results.estimates, columns)
    lost = lost_states(results.summary)
    measured = set(zip(results.summary["quantity"], results.summary["group"], strict=True))
    columns = [column for column in columns if column.measure in measured]
    is_undefined = False
    shown, full = [], []
    for place in places.fillna({"recipe": ""}).to_dict("records"):
        cells: dict[str, Entry] = {"model": place["model"], "recipe": place["recipe"] or MISSING}
        cells |= {"step": place["step"], "variant": place["variant"]}
        numbers = {key: place[key] for key in cells}
        for column in columns:
            recipe = "" if column.measure.quantity in TOLD_ONCE else place["recipe"]
            state = (place["model"], place["step"], place["variant"], recipe)
            point = estimates.get((*state, *column.measure))
            numbers |= in_full(column.measure, point)
            is_undefined |= point is not None and math.isnan(point["value"])
            unit = column.measure.unit
            cells[column.label] = DIVERGED if state in lost else estimated(unit, point)
        shown.append(cells)
        full.append(numbers)
    varied = {key for key in ("model", "recipe", "variant") if len({row[key] for row in shown}) > 1}
    kept = {"step", *varied, *(column.label for column in columns)}
    rows = [{key: text for key, text in row.items() if key in kept} for row in shown]
    if is_undefined:
        heading = heading._replace(note=f"{heading.note} {UNDEFINED_NOTE}")
    return short_table(noted(heading, results.summary), rows, pd.DataFrame(full))


def noted(heading: Heading, summary: pd.DataFrame) -> Heading:
    """Return a heading whose note says how many runs of a marked summary are in no mean."""
    if words := left_out(summary):
        return heading._replace(note=f"{heading.note} {words} and are left out: see Every run.")
    return heading


def _index(estimates: pd.DataFrame, columns: Sequence[Column]) -> dict[Hashable, dict[Any, Any]]:
    """Return {(model, step, variant, recipe or "", quantity, group): estimate}."""
    keys = ["model", "step", "variant", "recipe", "quantity", "group"]
    rows = estimates[estimates["quantity"].isin({column.measure.quantity for column in columns})]
    return rows.fillna({"recipe": ""}).set_index(keys)[ESTIMATE].to_dict("index")


def in_full(
    measure: Measure, point: Mapping[Any, Any] | None, keys: Sequence[str] = ESTIMATE
) -> dict[str, Any]:
    """Return what is known of a measure as columns of a CSV; None without a point."""
    quantity, group = measure
    is_whole = group in (WHOLE_MODEL, ALL_TASKS, ALL_PROBES)
    stem = quantity if is_whole else f"{group}/{quantity}"
    names = {key: stem if key == "value" else f"{stem}_{key}" for key in keys}
    return {name: point[key] if point else None for key, name in names.items()}
