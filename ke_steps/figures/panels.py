"""What several figures share: the outcomes that they compare, one panel each, and changes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ke_steps.figures import style
from ke_steps.figures.marks import draw_reference
from ke_steps.settings.interventions import Variant
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import stages_of
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACCURACY_BEFORE,
    ACQUISITION,
    BEFORE_LEARNING,
    CHANCE,
    ENTROPY,
    ENTROPY_BOUND,
    FORGETTING,
    KNOWLEDGE_AFTER,
    KNOWLEDGE_BEFORE,
    UNIFORM,
    Measure,
    show,
)

Place = tuple[str, str, str, str, str]
"""Of a course over stages: quantity, group, model, variant and recipe, "" for none."""


@dataclass(frozen=True)
class Tables:
    """The tables that the figures are drawn from, and what the study calls things."""

    summary: pd.DataFrame  # of runs that did not diverge: a row per seed
    estimates: pd.DataFrame  # the means over them
    families: pd.DataFrame  # and over models that are seeds of one another
    phases: pd.DataFrame  # of each model's pretraining
    frontiers: pd.DataFrame  # new knowledge against old over learning rates
    effects: pd.DataFrame  # of gauge and function, and of variants against their controls
    correlations: pd.DataFrame
    between_runs: pd.DataFrame
    curves: pd.DataFrame  # of runs that did not diverge, as the summary's and what is retained
    diverged_curves: pd.DataFrame
    distributions: pd.DataFrame
    rankings: pd.DataFrame
    novelty: pd.DataFrame
    retained: pd.DataFrame
    confidence: float  # of the intervals
    main_corpora: Mapping[str, str]  # by model, of the entropies whose group names none
    variants: Mapping[str, Variant]
    recipes: Sequence[str]  # the main one first

    def models(self) -> list[str]:
        """Return the models in the order of the summary."""
        return list(self.summary["model"].unique())

    def courses(self, measure: Measure) -> list[tuple[str, str, pd.DataFrame]]:
        """Return (name, a model, points) of each family, and of each model that is in none.

        ``seeds`` of a family's points are the values of its models.
        """
        names = ["quantity", "group"]
        found = self.families[(self.families[names] == list(measure)).all(axis=1)]
        families = [
            (str(name), rows["models"].iloc[0][0], _family_points(rows))
            for name, rows in found.groupby("family", sort=False)
        ]
        members = {model for models in found["models"] for model in models}
        alone = [model for model in self.models() if model not in members]
        return [*families, *((model, model, self.points(measure, model)) for model in alone)]

    def steps(self) -> list[int]:
        """Return every step of every model, ascending: one colour each in all figures."""
        return sorted(int(step) for step in self.summary["step"].unique())

    def measured(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return those of the outcomes that the study has."""
        names = self.summary[["quantity", "group"]].drop_duplicates()
        known = set(names.itertuples(index=False, name=None))
        return [outcome for outcome in outcomes if outcome.measure in known]

    def recipes_of(self, model: str, variants: Collection[str] = (ORIGINAL,)) -> list[str]:
        """Return the recipes run on any of these variants of a model, the main one first."""
        rows = self.summary[self.summary["model"] == model]
        run = set(rows.loc[rows["variant"].isin(variants), "recipe"].dropna())
        return [recipe for recipe in self.recipes if recipe in run]

    def main_runs(self, variants: Collection[str] = (ORIGINAL,)) -> list[tuple[str, str]]:
        """Return each model with its main recipe among those run on any of the variants."""
        return first_recipes(self.summary[self.summary["variant"].isin(variants)], self.recipes)

    def points(
        self, measure: Measure, model: str, recipe: str | None = None, variant: str = ORIGINAL
    ) -> pd.DataFrame:
        """Return the columns of ``POINT`` and seeds: one point per stage.

        ``seeds`` are the values that the point is the mean of; none before learning. What is
        measured before learning is the same under every recipe.
        """
        named = "" if measure in BEFORE_LEARNING else recipe or ""
        place = (*measure, model, variant, named)
        found = self.estimates.iloc[self._rows_of_estimates.get(place, [])]
        stages = found.reindex(columns=POINT).sort_values("step", ignore_index=True)
        runs = self.summary.iloc[self._rows_of_summary.get(place, [])].dropna(subset="seed")
        values = dict(iter(runs.groupby("step")["value"]))
        seeds = [list(values.get(step, [])) for step in stages["step"]]
        return stages.assign(seeds=pd.Series(seeds, index=stages.index, dtype=object))

    @cached_property
    def _rows_of_estimates(self) -> dict[Place, NDArray[np.intp]]:
        return _rows_by_place(self.estimates)

    @cached_property
    def _rows_of_summary(self) -> dict[Place, NDArray[np.intp]]:
        return _rows_by_place(self.summary)

    def draw_reference(self, axis: Axes, measure: Measure, *models: str, along: str = "y") -> None:
        """Draw what values of a measure are to be compared with, where it is one for the models."""
        if measure in REFERENCES:
            name, reference = REFERENCES[measure]
            told = pd.concat([self.points(reference, model)["value"] for model in models])
            if told.nunique() == 1:
                value = float(told.dropna().iloc[0])
                words = f"{name}, {show(value, measure.unit)}"
                draw_reference(axis, words, value, along=along)


POINT = [
    *("model", "recipe", "variant", "quantity", "group", "unit", "step", "is_trained"),
    *("value", "low", "high", "interval_kind", "num_seeds", "num_items"),
]
"""What is told of a point: columns of the estimates."""

REFERENCES = {
    ENTROPY: ("upper bound L·ln m", ENTROPY_BOUND),
    **dict.fromkeys((KNOWLEDGE_BEFORE, KNOWLEDGE_AFTER), ("uniform", UNIFORM)),
    **dict.fromkeys((ACCURACY_BEFORE, ACCURACY_AFTER), ("chance", CHANCE)),
}
"""What a measure is compared with: name, and where it is told."""


def _rows_by_place(table: pd.DataFrame) -> dict[Place, NDArray[np.intp]]:
    """Return the numbers of rows: one look through a large table takes as long as this."""
    names = ["quantity", "group", "model", "variant", "recipe"]
    groups = table[names].fillna({"recipe": ""}).groupby(names, sort=False)
    return {cast("Place", place): np.asarray(rows) for place, rows in groups.indices.items()}


def _family_points(rows: pd.DataFrame) -> pd.DataFrame:
    columns = ["family", "quantity", "group", "unit", "step", "is_trained", "value", "low", "high"]
    columns += ["interval_kind", "num_models", "values"]
    points = rows.reindex(columns=columns).sort_values("step", ignore_index=True)
    return points.rename(columns={"values": "seeds"})


def first_recipes(rows: pd.DataFrame, recipes: Sequence[str]) -> list[tuple[str, str]]:
    """Return each model with the first of the recipes that its rows have."""
    pairs = rows.loc[rows["recipe"].isin(recipes), ["model", "recipe"]].drop_duplicates()
    pairs = pairs.sort_values("recipe", key=lambda names: names.map(list(recipes).index))
    first = pairs.drop_duplicates("model").sort_values("model")
    return list(first.itertuples(index=False, name=None))


class Outcome(NamedTuple):
    """One measure of the summary as a panel shows it."""

    title: str
    axis_label: str
    measure: Measure

    @property
    def is_fraction(self) -> bool:
        """Whether it is shown in percent."""
        return self.measure.unit == "fraction"

    def dress(self, axis: Axes) -> None:
        """Name a panel and the unit of its y axis."""
        axis.set_title(self.title)
        axis.set_ylabel(self.axis_label)
        if self.is_fraction:
            style.percent(axis.yaxis)


LEARNING = (
    Outcome("acquisition A", "A", ACQUISITION),
    Outcome("forgetting F", "F", FORGETTING),
    Outcome("K after learning", "K (nats)", KNOWLEDGE_AFTER),
    Outcome("P after learning", "P", ACCURACY_AFTER),
)
COMPARED = (Outcome("knowledge entropy H", "H (nats)", ENTROPY), *LEARNING)
"""What figures of interventions compare; those of recipes and models, learning alone."""

BEFORE = {KNOWLEDGE_AFTER: KNOWLEDGE_BEFORE, ACCURACY_AFTER: ACCURACY_BEFORE}
"""What an end performance is to be compared with."""


def head(panel: Axes, words: str) -> None:
    """Write above a panel's title what the panels of its block share."""
    if words:
        panel.set_title(f"{words}\n{panel.get_title(loc='left')}")


def by_step(rows: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield each stage of pretraining, ascending, with its rows."""
    for step in sorted(rows["step"].unique()):
        yield int(step), rows[rows["step"] == step]


def change_since_first_trained(stages: pd.DataFrame, *, relative: bool = False) -> pd.DataFrame:
    """Return value, low, high of the trained stages less the first one's value, or as parts of it.

    The interval is that of each stage: the starting point counts as exact. The seeds are left out.
    """
    trained = stages[stages["is_trained"]].drop(columns="seeds")
    start = trained["value"].iloc[0] if len(trained) else 0.0
    scale = start if relative else 1.0
    changes = {k: (trained[k] - start) / scale for k in ("value", "low", "high")}
    return trained.assign(**changes, change_since_step=trained["step"].min())


def name_changes(axis: Axes, stages: pd.DataFrame, label: str) -> None:
    """Name a panel of changes after the stage that they count from."""
    trained = list(stages.loc[stages["is_trained"], "step"])
    axis.set_title(f"change since step {style.step_label(trained[0])}" if trained else "")
    axis.set_ylabel(label)


def num_trained_stages(tables: Tables) -> int:
    """Return the largest number of trained original checkpoints that a model has."""
    trained = stages_of(tables.summary)
    return int(trained.groupby("model")["step"].nunique().max()) if len(trained) else 0
