"""The runs of a study in the report: tables 1 and 2 of the paper, and every run by itself."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ke_steps.report.cells import MISSING, Entry, Number, estimated
from ke_steps.report.published import is_reference_scale, published_values
from ke_steps.report.tables import (
    DIVERGED,
    ESTIMATE,
    MAIN_COLUMNS,
    Column,
    Heading,
    Results,
    Table,
    in_full,
    noted,
    short_table,
)
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import rows_of
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION,
    FORGETTING,
    KNOWLEDGE_AFTER,
    OUTCOMES,
    Measure,
    unit_of,
)
from ke_steps.summary.runs import RUN, left_out, lost_states

A = Column("A, %", ACQUISITION)
F = Column("F, %", FORGETTING)
K = Column("K after", KNOWLEDGE_AFTER)
K_REFERENCE_SCALE = Column("K after, reference scale", KNOWLEDGE_AFTER)
K_PER_TOKEN = Column("K after, per token", KNOWLEDGE_AFTER.of("all/per token"))
P = Column("P after, %", ACCURACY_AFTER)

RUN_COLUMNS = [column for column in MAIN_COLUMNS if column.measure in OUTCOMES]
ENDS = ("value", "low", "high")
LOSSES = {"first loss": "first_loss_nats", "last loss": "last_loss_nats"}
RUN_NOTE = (
    "Losses and K in nats, A, F and P in percent; in brackets the interval of this run alone, by"
    " bootstrap."
)
WHY_DIVERGED = (
    " A run diverged when a loss or a gradient was no finite number, or when its loss ended more"
    " than 1 nat above where it began. It is in no mean, correlation or verdict."
)


def recipe_tables(results: Results, curves: pd.DataFrame, study: dict[str, Any]) -> Iterator[Table]:
    """Yield both tables of every model: recipes as rows, stages as columns.

    ``curves`` are marked, as by ``runs.mark``.
    """
    is_scaled = is_reference_scale(study)
    scores = [K_REFERENCE_SCALE, K_PER_TOKEN] if is_scaled else [K]
    if is_scaled:
        told = pd.concat([results.estimates, _per_token(curves)])
        results = results._replace(estimates=told)
    recipes = results.summary["recipe"].dropna().unique()
    learned = results.of("variant", ORIGINAL).of("recipe", *recipes)
    for model in learned.summary["model"].unique():
        here = learned.of("model", model)
        for which, words, columns in (
            (1, "acquisition and forgetting", [A, F]),
            (2, "end performance", [*scores, P]),
        ):
            full = _numbers(here, columns, study)
            title = f"{words.capitalize()} by recipe (the paper's table {which}): {model}"
            heading = Heading(f"table_{which}_{model}", title, _note(which, full, study))
            lines = list(_lines(full, _lost(here.summary)))
            yield short_table(noted(heading, here.summary), lines, full)


def _per_token(curves: pd.DataFrame) -> pd.DataFrame:
    """Return K at the end of the runs, per target token, as rows of the estimates.

    Without an interval: on this scale nothing was resampled.
    """
    ends = curves[(curves["moment"] == "end") & (curves["condition"] == "all")]
    runs = ends[ends["diverged_at_step"].isna()]
    states = runs.groupby(["model", "step", "variant", "recipe"], as_index=False, sort=False)
    means = states.agg(value=("performance", "mean"), num_seeds=("seed", "count"))
    names = {**K_PER_TOKEN.measure._asdict(), "unit": K_PER_TOKEN.measure.unit}
    return means.assign(**names, low=np.nan, high=np.nan, interval_kind="")


def _numbers(results: Results, columns: list[Column], study: dict[str, Any]) -> pd.DataFrame:
    """Return a row per recipe, column and stage of one model: measured, published, difference."""
    model = results.summary["model"].iloc[0]
    return pd.DataFrame(
        [
            {"recipe": recipe, "column": column.label, "quantity": column.measure.quantity}
            | point
            | _published(point, column, published_values(study, model, recipe, point["step"]))
            for recipe in results.summary["recipe"].unique()
            for column in columns
            for point in _stages(results, column, recipe)
        ]
    )


def _lost(measured: pd.DataFrame) -> set[tuple[str, int]]:
    """Return the recipe and step of the stages of one model all of whose runs diverged."""
    return {(recipe, step) for _, step, _, recipe in lost_states(measured)}


def _stages(results: Results, column: Column, recipe: str) -> list[dict[Any, Any]]:
    """Return step and estimate by stage; unknown at those all of whose runs diverged."""
    rows = rows_of(results.estimates, column.measure, recipe)
    found = rows.set_index("step")[ESTIMATE]
    lost = {step for name, step in _lost(results.summary) if name == recipe}
    steps = sorted(set(found.index) | lost)
    return found.reindex(steps).rename_axis("step").reset_index().to_dict("records")


def _note(which: int, full: pd.DataFrame, study: dict[str, Any]) -> str:
    note = "Recipes by pretraining stage; intervals as in the table of every stage."
    if full["published"].notna().any():
        note += (
            " Paper: the published numbers, where checkpoint, recipe, corpus, new knowledge and"
            " tasks are the same; steps within 0.5 %."
        )
        if which == 1 and not is_reference_scale(study):
            note += " The published A is of K on the reference scale, this study's of K per token."
    return note


def _published(
    point: dict[Any, Any], column: Column, values: dict[Measure, float]
) -> dict[str, float]:
    """Return the paper's number and measured minus published; NaN where there is none."""
    value = values.get(column.measure, np.nan)
    return {"published": value, "difference": point["value"] - value}


def _lines(full: pd.DataFrame, lost: set[tuple[str, int]]) -> Iterator[dict[str, Entry]]:
    """Yield each measured line and, where the paper has numbers, its own and the difference."""
    steps = sorted(full["step"].unique())
    for _, found in full.groupby(["recipe", "column"], sort=False):
        recipe, label, quantity = found[["recipe", "column", "quantity"]].iloc[0]
        unit = unit_of(quantity)
        records = found.set_index("step").to_dict("index")
        measured = {
            step: DIVERGED
            if (recipe, step) in lost
            else Number(row["value"], unit, row["low"], row["high"], alike=label)
            for step, row in records.items()
        }
        yield _line(recipe, label, steps, measured)
        if found["published"].notna().any():
            for key, words in (("published", "paper"), ("difference", "difference")):
                numbers = {
                    step: Number(row[key], unit, is_change=key == "difference", alike=label)
                    for step, row in records.items()
                }
                yield _line(recipe, f"{label}: {words}", steps, numbers)


def _line(
    recipe: str, words: str, steps: Sequence[int], told: Mapping[Hashable, Entry]
) -> dict[str, Entry]:
    stages = {f"step {step:,}": told.get(step, MISSING) for step in steps}
    return {"recipe": recipe, "measure": words} | stages


def run_table(runs: pd.DataFrame, summary: pd.DataFrame) -> Table | None:
    """Return a row per run, those that diverged first; None for a study without runs.

    ``summary`` is marked, as by ``runs.mark``.
    """
    if runs.empty:
        return None
    ordered = runs.sort_values("diverged_at_step", key=lambda steps: steps.isna(), kind="stable")
    measured = _outcomes(summary)
    shown, full = [], []
    for run in ordered.to_dict("records"):
        found = measured.get(tuple(run[key] for key in RUN), {})
        shown.append(_cells(run, found))
        outcomes = [in_full(measure, found.get(measure), ENDS) for measure in OUTCOMES]
        full.append(run | {name: value for told in outcomes for name, value in told.items()})
    varied = {key for key in ("model", "variant", "recipe") if runs[key].nunique() > 1}
    hidden = {"model", "variant", "recipe"} - varied
    rows = [{key: text for key, text in row.items() if key not in hidden} for row in shown]
    note = RUN_NOTE + (WHY_DIVERGED if left_out(summary) else "")
    frame = pd.DataFrame(full).astype({"diverged_at_step": "Int64"})
    return short_table(Heading("runs", "Every run", note), rows, frame)


def _outcomes(summary: pd.DataFrame) -> dict[tuple[Any, ...], dict[Measure, dict[Any, Any]]]:
    """Return the rows of what each run came to, by run and measure."""
    found: dict[tuple[Any, ...], dict[Measure, dict[Any, Any]]] = {}
    for recipe, measure in itertools.product(summary["recipe"].dropna().unique(), OUTCOMES):
        for row in rows_of(summary, measure, recipe).to_dict("records"):
            found.setdefault(tuple(row[key] for key in RUN), {})[measure] = row
    return found


def _cells(run: dict[Any, Any], found: dict[Measure, dict[Any, Any]]) -> dict[str, Entry]:
    at = run["diverged_at_step"]
    return {
        "model": run["model"],
        "recipe": run["recipe"],
        "step": run["step"],
        "variant": run["variant"],
        "seed": run["seed"],
        "ended": "as planned" if pd.isna(at) else f"⚠ diverged at step {int(at):,}",
        "steps": run["num_steps"],
        **{label: Number(run[name], "nats") for label, name in LOSSES.items()},
        **{
            column.label: estimated(column.measure.unit, found.get(column.measure))
            for column in RUN_COLUMNS
        },
    }
