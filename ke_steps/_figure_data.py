"""What figures and report show: rows of the summary, turned into points with error bars."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from ke_steps.settings import ORIGINAL


class Tables(NamedTuple):
    """The tables that the figures are drawn from."""

    summary: pd.DataFrame
    correlations: pd.DataFrame
    curves: pd.DataFrame
    distributions: pd.DataFrame

    def models(self) -> list[str]:
        """Return the models in the order of the summary."""
        return list(self.summary["model"].unique())

    def steps(self) -> list[int]:
        """Return every step of every model, ascending: one colour each in all figures."""
        return sorted(int(step) for step in self.summary["step"].unique())

    def runs(self) -> list[tuple[str, str]]:
        """Return the pairs of model and recipe: one row of panels each."""
        pairs = self.summary[["model", "recipe"]].dropna().drop_duplicates()
        return list(pairs.itertuples(index=False, name=None))


def points(
    summary: pd.DataFrame,
    model: str,
    quantity: str,
    group: str,
    recipe: str | None = None,
    *,
    variant: str = ORIGINAL,
) -> pd.DataFrame:
    """Return step, value, low, high of one quantity: one point per stage.

    Several seeds: their mean, and their minimum and maximum. One: its own bootstrap interval.
    """
    same_recipe = summary["recipe"].isna() if recipe is None else summary["recipe"] == recipe
    rows = summary[
        (summary["model"] == model)
        & (summary["variant"] == variant)
        & (summary["quantity"] == quantity)
        & (summary["group"] == group)
        & same_recipe
    ]
    stages = []
    for step, seeds in rows.groupby("step"):
        values = seeds["value"]
        several = len(values) > 1
        low = values.min() if several else seeds["low"].iloc[0]
        high = values.max() if several else seeds["high"].iloc[0]
        stages.append((step, values.mean(), low, high))
    return pd.DataFrame(stages, columns=["step", "value", "low", "high"])


def group_names(summary: pd.DataFrame, quantity: str) -> list[str]:
    """Return the groups in which a quantity was measured, in the order of the summary."""
    return list(summary.loc[summary["quantity"] == quantity, "group"].unique())
