"""Questions to the summary and its estimates: the rows of a measure, and points of a figure."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import WHOLE_MODEL, Measure


def rows_of(table: pd.DataFrame, measure: Measure, recipe: str | None = None) -> pd.DataFrame:
    """Return the rows of a measure under a recipe; None: of what was measured without one.

    ``table``: SUMMARY (a row per seed) or ESTIMATES (a row per state).
    """
    same_recipe = table["recipe"].isna() if recipe is None else table["recipe"] == recipe
    same_measure = (table["quantity"] == measure.quantity) & (table["group"] == measure.group)
    return table[same_measure & same_recipe]


def points(
    estimates: pd.DataFrame,
    model: str,
    measure: Measure,
    recipe: str | None = None,
    *,
    variant: str = ORIGINAL,
) -> pd.DataFrame:
    """Return step, is_trained, value, low, high of one measure: a point per stage, ascending."""
    rows = rows_of(estimates, measure, recipe)
    chosen = rows[(rows["model"] == model) & (rows["variant"] == variant)]
    columns = ["step", "is_trained", "value", "low", "high"]
    return chosen[columns].sort_values("step", ignore_index=True)


def mark_trained(table: pd.DataFrame, untrained: Collection[str]) -> pd.DataFrame:
    """Return a table of models and steps with ``is_trained``; step 0 of some models is not."""
    is_first = (table["step"] == 0) & table["model"].isin(untrained)
    return table.assign(is_trained=~is_first.astype(bool))


def stages_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that belong to the stages of pretraining: original, trained checkpoints."""
    return table[(table["variant"] == ORIGINAL) & table["is_trained"]]


def by_stage(
    estimates: pd.DataFrame, model: str, measure: Measure, recipe: str | None = None
) -> pd.Series:
    """Return the means over seeds by the steps of the pretraining stages, ascending."""
    rows = stages_of(rows_of(estimates, measure, recipe))
    return rows[rows["model"] == model].set_index("step")["value"].sort_index()


def group_names(summary: pd.DataFrame, quantity: str) -> list[str]:
    """Return the groups in which a quantity was measured, in the order of the summary."""
    return list(summary.loc[summary["quantity"] == quantity, "group"].unique())


def by_layer(summary: pd.DataFrame, quantity: str) -> dict[int, Measure]:
    """Return the quantity of each layer in which it was measured, ascending."""
    groups = [name for name in group_names(summary, quantity) if name.startswith("layer ")]
    return {int(name.removeprefix("layer ")): Measure(quantity, name) for name in groups}


def by_corpus(summary: pd.DataFrame, quantity: str) -> dict[str, Measure]:
    """Return the quantity of the whole model by corpus; the main one's name is empty."""
    places = [(name, *name.rpartition("/")) for name in group_names(summary, quantity)]
    return {
        corpus: Measure(quantity, name) for name, corpus, _, part in places if part == WHOLE_MODEL
    }


def spread_indices(num_items: int, num_wanted: int) -> list[int]:
    """Return up to ``num_wanted`` indices spread evenly, the first and the last among them."""
    wanted = np.linspace(0, num_items - 1, min(num_items, num_wanted))
    return [int(index) for index in np.unique(wanted.round())]
