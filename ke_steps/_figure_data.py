"""What figures and report show: rows of the summary, turned into points with error bars."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from ke_steps.settings import ORIGINAL, Variant


class Tables(NamedTuple):
    """The tables that the figures are drawn from, and what the study calls things."""

    summary: pd.DataFrame
    correlations: pd.DataFrame
    curves: pd.DataFrame  # of runs that did not diverge, as the summary's and what is retained
    diverged_curves: pd.DataFrame
    distributions: pd.DataFrame
    rankings: pd.DataFrame
    novelty: pd.DataFrame
    retained: pd.DataFrame
    corpus: str  # of the entropies whose group names none
    variants: Mapping[str, Variant]
    recipes: Sequence[str]  # the main one first

    def models(self) -> list[str]:
        """Return the models in the order of the summary."""
        return list(self.summary["model"].unique())

    def steps(self) -> list[int]:
        """Return every step of every model, ascending: one colour each in all figures."""
        return sorted(int(step) for step in self.summary["step"].unique())

    def recipes_of(self, model: str, variants: Collection[str] = (ORIGINAL,)) -> list[str]:
        """Return the recipes run on any of these variants of a model, the main one first."""
        rows = self.summary[self.summary["model"] == model]
        run = set(rows.loc[rows["variant"].isin(variants), "recipe"].dropna())
        return [recipe for recipe in self.recipes if recipe in run]

    def main_runs(self, variants: Collection[str] = (ORIGINAL,)) -> list[tuple[str, str]]:
        """Return each model with its main recipe among those run on any of the variants."""
        return first_recipes(self.summary[self.summary["variant"].isin(variants)], self.recipes)


def first_recipes(rows: pd.DataFrame, recipes: Sequence[str]) -> list[tuple[str, str]]:
    """Return each model with the first of the recipes that its rows have."""
    pairs = rows.loc[rows["recipe"].isin(recipes), ["model", "recipe"]].drop_duplicates()
    pairs = pairs.sort_values("recipe", key=lambda names: names.map(list(recipes).index))
    first = pairs.drop_duplicates("model").sort_values("model")
    return list(first.itertuples(index=False, name=None))


def over_seeds(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the keys, value, low, high: means over seeds with their minimum and maximum.

    One seed alone keeps its own interval.
    """
    table = rows.groupby(keys, as_index=False).agg(
        low=("low", "first"),
        high=("high", "first"),
        least=("value", "min"),
        most=("value", "max"),
        num_seeds=("value", "size"),
        value=("value", "mean"),
    )
    several = table["num_seeds"] > 1
    table["low"] = table["low"].where(~several, table["least"])
    table["high"] = table["high"].where(~several, table["most"])
    return table[[*keys, "value", "low", "high"]]


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
