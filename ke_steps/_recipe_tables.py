"""Tables 1 and 2 of the paper from the study's own runs, beside the published numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ke_steps._figure_data import points
from ke_steps._published import is_reference_scale, published_values
from ke_steps._quantities import number, unit_of
from ke_steps._report_tables import DIVERGED, Column, Heading, Table, cell, noted, short_table
from ke_steps._runs import lost_states
from ke_steps.settings import ORIGINAL

A = Column("A, %", "acquisition", "all/all")
F = Column("F, %", "forgetting", "mean")
K = Column("K after", "performance_after", "all/all")
K_REFERENCE_SCALE = Column("K after, reference scale", "performance_after", "all/all")
K_PER_TOKEN = Column("K after, per token", "performance_after", "all/per token")
P = Column("P after, %", "accuracy_after", "mean")


def recipe_tables(
    summary: pd.DataFrame, curves: pd.DataFrame, study: dict[str, Any]
) -> Iterator[Table]:
    """Yield both tables of every model: recipes as rows, stages as columns.

    ``summary`` and ``curves`` are marked, as by ``_runs.mark``.
    """
    is_scaled = is_reference_scale(study)
    scores = [K_REFERENCE_SCALE, K_PER_TOKEN] if is_scaled else [K]
    measured = pd.concat([summary, _per_token(curves)]) if is_scaled else summary
    measured = measured[(measured["variant"] == ORIGINAL) & measured["recipe"].notna()]
    for model in measured["model"].unique():
        here = measured[measured["model"] == model]
        for which, words, columns in (
            (1, "acquisition and forgetting", [A, F]),
            (2, "end performance", [*scores, P]),
        ):
            full = _numbers(here, columns, study)
            title = f"{words.capitalize()} by recipe (the paper's table {which}): {model}"
            heading = Heading(f"table_{which}_{model}", title, _note(which, full, study))
            yield short_table(noted(heading, here), list(_lines(full, _lost(here))), full)


def _per_token(curves: pd.DataFrame) -> pd.DataFrame:
    """Return K at the end of every run, per target token, as rows of the summary."""
    ends = curves[(curves["moment"] == "end") & (curves["condition"] == "all")]
    names = {"quantity": K_PER_TOKEN.quantity, "group": K_PER_TOKEN.group, "unit": "nats"}
    return ends.rename(columns={"performance": "value"}).assign(**names, low=np.nan, high=np.nan)


def _numbers(measured: pd.DataFrame, columns: list[Column], study: dict[str, Any]) -> pd.DataFrame:
    """Return a row per recipe, column and stage of one model: measured, published, difference."""
    model = measured["model"].iloc[0]
    lost = _lost(measured)
    return pd.DataFrame(
        [
            {"recipe": recipe, "column": column.label, "quantity": column.quantity, **point}
            | _published(point, column, published_values(study, model, recipe, int(point["step"])))
            for recipe in measured["recipe"].unique()
            for column in columns
            for point in _stages(measured, column, recipe, lost)
        ]
    )


def _lost(measured: pd.DataFrame) -> set[tuple[str, int]]:
    """Return the recipe and step of the stages of one model all of whose runs diverged."""
    return {(recipe, step) for _, step, _, recipe in lost_states(measured)}


def _stages(
    measured: pd.DataFrame, column: Column, recipe: str, lost: set[tuple[str, int]]
) -> list[dict[Any, Any]]:
    """Return step, value, low and high by stage; NaN at those all of whose runs diverged."""
    counted = measured[measured["diverged_at_step"].isna()]
    model = measured["model"].iloc[0]
    found = points(counted, model, column.quantity, column.group, recipe).set_index("step")
    steps = set(found.index) | {step for name, step in lost if name == recipe}
    return found.reindex(sorted(steps)).rename_axis("step").reset_index().to_dict("records")


def _note(which: int, full: pd.DataFrame, study: dict[str, Any]) -> str:
    note = "Recipes by pretraining stage, mean over seeds; ± as in the table of every stage."
    if full["published"].notna().any():
        note += (
            " Paper: the published numbers, where checkpoint, recipe, corpus, new knowledge and"
            " tasks are the same; steps within 0.5 %."
        )
        if which == 1 and not is_reference_scale(study):
            note += " The published A is of K on the reference scale, this study's of K per token."
    return note


def _published(point: dict[Any, Any], column: Column, values: dict[str, float]) -> dict[str, float]:
    """Return the paper's number and measured minus published; NaN where there is none."""
    is_other_scale = column == K_PER_TOKEN
    value = np.nan if is_other_scale else values.get(column.quantity, np.nan)
    return {"published": value, "difference": point["value"] - value}


def _lines(full: pd.DataFrame, lost: set[tuple[str, int]]) -> Iterator[dict[str, str]]:
    """Yield each measured line and, where the paper has numbers, its own and the difference."""
    steps = sorted(full["step"].unique())
    for _, found in full.groupby(["recipe", "column"], sort=False):
        recipe, label, quantity = found[["recipe", "column", "quantity"]].iloc[0]
        records = found.set_index("step").to_dict("index")
        measured = {
            f"step {step:,}": DIVERGED
            if (recipe, step) in lost
            else cell(quantity, records.get(step))
            for step in steps
        }
        yield {"recipe": recipe, "": label, **measured}
        if found["published"].notna().any():
            for key, words in (("published", "paper"), ("difference", "difference")):
                numbers = {
                    f"step {step:,}": _number(quantity, records[step][key], key)
                    if step in records
                    else "–"
                    for step in steps
                }
                yield {"recipe": recipe, "": f"{label}: {words}", **numbers}


def _number(quantity: str, value: float, key: str) -> str:
    if np.isnan(value):
        return "–"
    sign = "+" if key == "difference" and value >= 0 else ""
    return sign + number(value, unit_of(quantity))
