"""Questions to the summary: the rows of a measure, and points with error bars made of them."""

from __future__ import annotations

import pandas as pd

from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import WHOLE_MODEL, Measure


def rows_of(summary: pd.DataFrame, measure: Measure, recipe: str | None = None) -> pd.DataFrame:
    """Return the rows of a measure under a recipe; None: of what was measured without one."""
    same_recipe = summary["recipe"].isna() if recipe is None else summary["recipe"] == recipe
    same_measure = (summary["quantity"] == measure.quantity) & (summary["group"] == measure.group)
    return summary[same_measure & same_recipe]


def over_seeds(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the keys, value, low, high: means over seeds with their minimum and maximum.

    One seed alone keeps its own interval.
    """
    seeds = rows.groupby(keys)
    values = seeds["value"]
    is_one = values.size() == 1
    table = pd.DataFrame(
        {
            "value": values.mean(),
            "low": seeds["low"].first().where(is_one, values.min()),
            "high": seeds["high"].first().where(is_one, values.max()),
        }
    )
    return table.reset_index()


def points(
    summary: pd.DataFrame,
    model: str,
    measure: Measure,
    recipe: str | None = None,
    *,
    variant: str = ORIGINAL,
) -> pd.DataFrame:
    """Return step, value, low, high of one measure: one point per stage, ascending."""
    rows = rows_of(summary, measure, recipe)
    return over_seeds(rows[(rows["model"] == model) & (rows["variant"] == variant)], ["step"])


def stages_of(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that belong to the stages of pretraining.

    A stage is an original checkpoint after at least one training step.
    """
    return summary[(summary["variant"] == ORIGINAL) & (summary["step"] > 0)]


def by_stage(
    summary: pd.DataFrame, model: str, measure: Measure, recipe: str | None = None
) -> pd.Series:
    """Return the means over seeds by the steps of the pretraining stages, ascending."""
    rows = stages_of(rows_of(summary, measure, recipe))
    return over_seeds(rows[rows["model"] == model], ["step"]).set_index("step")["value"]


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
