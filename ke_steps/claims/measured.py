"""What a claim is decided from: the measurements of one model, and contrasts of its states."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from ke_steps.artefacts.places import Identity
from ke_steps.formulas.uncertainty import (
    NO_SEEDS,
    UNKNOWN,
    Estimate,
    Sampled,
    SeedSpread,
    combination,
    contrast,
    spread_beside_seeds,
)
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.telling import SummarizeJob
from ke_steps.summary.digits import decimals_of
from ke_steps.summary.points import by_stage, rows_of, stages_of
from ke_steps.summary.quantities import QUANTITIES, Measure, number, show
from ke_steps.summary.replicates import Replicates

NO_PASSAGES: Mapping[Identity, pd.Series] = MappingProxyType({})
Recipes = str | tuple[str, ...] | None
"""One, several for their mean, or none for what is measured before learning."""
NO_SEED = -1
"""The column of what is measured once, before learning."""


class State(NamedTuple):
    """A checkpoint under a variant."""

    step: int
    variant: str = ORIGINAL


@dataclass(frozen=True)
class Measured:
    """What was measured on one model, and how sure a statement must be.

    ``states`` has step, is_trained, variant and recipe of everything measured; ``passages`` K after
    learning by passage, of the runs of which it is asked. Rows of the summary that were asked for
    are kept: claims ask for the same ones again and again.
    """

    model: str
    summary: pd.DataFrame
    estimates: pd.DataFrame
    replicates: Replicates
    correlations: pd.DataFrame
    settings: SummarizeJob
    states: pd.DataFrame
    passages: Mapping[Identity, pd.Series]
    _rows: dict[tuple[Measure, str | None], pd.DataFrame] = field(default_factory=dict)
    _values: dict[tuple[Measure, str | None], pd.DataFrame] = field(default_factory=dict)
    _spreads: dict[tuple[tuple[tuple[Measure, float], ...], Recipes], SeedSpread] = field(
        default_factory=dict
    )

    @classmethod
    def of(
        cls,
        model: str,
        *,
        summary: pd.DataFrame,
        estimates: pd.DataFrame,
        replicates: Replicates,
        correlations: pd.DataFrame,
        settings: SummarizeJob,
        passages: Mapping[Identity, pd.Series] = NO_PASSAGES,
    ) -> Measured:
        """Return one model's part of the tables of a study."""
        summary, estimates, correlations = (
            table[table["model"] == model] for table in (summary, estimates, correlations)
        )
        states = summary[["step", "is_trained", "variant", "recipe"]].drop_duplicates()
        return cls(model, summary, estimates, replicates, correlations, settings, states, passages)

    def stages(self, recipe: str | None = None) -> list[int]:
        """Return the steps of the pretraining stages, or of those with a recipe, ascending."""
        stages = stages_of(self.states)
        chosen = stages if recipe is None else stages[stages["recipe"] == recipe]
        return sorted(int(step) for step in chosen["step"].unique())

    def kin(self) -> list[str]:
        """Return the other models of its family: other seeds of the same pretraining."""
        families = self.settings.families
        own = families.get(self.model)
        return [name for name, family in families.items() if family == own and name != self.model]

    def recipes(self) -> list[str]:
        """Return the recipes in the order of the study."""
        return self.settings.order.of_recipes(self.states["recipe"].dropna().unique())

    def variants(self, *kinds: str) -> list[str]:
        """Return the interventions of some kinds in the order of the study."""
        known = self.settings.variants
        names = [name for name in self.states["variant"].unique() if name in known]
        chosen = [name for name in names if known[name].kind in kinds]
        return self.settings.order.of_variants(chosen)

    def steps_of(self, variant: str, recipe: str | None = None) -> list[int]:
        """Return the checkpoints that were measured as a variant, or learned as one, ascending."""
        rows = self.states[self.states["variant"] == variant]
        chosen = rows if recipe is None else rows[rows["recipe"] == recipe]
        return sorted(int(step) for step in chosen["step"].unique())

    def by_stage(self, measure: Measure, recipe: str | None = None) -> pd.Series:
        """Return the means over seeds by pretraining stage, ascending; unknown ones left out."""
        return by_stage(self.estimates, self.model, measure, recipe).dropna()

    def estimate(self, measure: Measure, state: State, recipe: str | None = None) -> Estimate:
        """Return a state's mean over seeds with the interval that tables and figures show."""
        return self._estimates.get((measure, recipe, state), UNKNOWN)

    @functools.cached_property
    def _estimates(self) -> dict[tuple[Measure, str | None, State], Estimate]:
        table = self.estimates
        names = zip(
            map(Measure, table["quantity"], table["group"]),
            table["recipe"].astype(object).where(table["recipe"].notna(), None),
            map(State, table["step"], table["variant"]),
            strict=True,
        )
        numbers = table[["value", "low", "high", "degrees_of_freedom"]].astype(float)
        numbers = numbers.fillna({"degrees_of_freedom": math.inf})
        return dict(zip(names, map(Estimate._make, numbers.to_numpy().tolist()), strict=True))

    def contrast(
        self,
        coefficients: Mapping[State, float],
        measures: Mapping[Measure, float] | Measure,
        recipe: Recipes = None,
    ) -> Estimate:
        """Return Σ c_s y_s over states of a measure, or of a weighted sum of measures.

        Paired on what was resampled and on the seeds that all of the states have. Unknown where a
        state lacks the measure, or no seed is common to all.
        """
        weights = {measures: 1.0} if isinstance(measures, Measure) else measures
        values = self._weighted(weights, recipe)
        states = list(coefficients)
        seeds = self.common_seeds(values, states)
        if not seeds:
            return UNKNOWN
        samples = [[self._sampled(weights, s, recipe, seed) for seed in seeds] for s in states]
        spread = NO_SEEDS if recipe is None else self._spread(weights, recipe)
        return contrast(list(coefficients.values()), samples, spread, self.settings.confidence)

    def _spread(self, weights: Mapping[Measure, float], recipe: Recipes) -> SeedSpread:
        key = (tuple(weights.items()), recipe)
        if key not in self._spreads:
            self._spreads[key] = spread_beside_seeds(self._trained(self._weighted(weights, recipe)))
        return self._spreads[key]

    def _trained(self, values: pd.DataFrame) -> pd.DataFrame:
        steps = self.states.loc[self.states["is_trained"], "step"]
        return values[values.index.get_level_values("step").isin(steps)]

    def between_recipes(
        self, coefficients: Mapping[str, float], measure: Measure, state: State
    ) -> tuple[Estimate, list[int]]:
        """Return Σ c_r y_r over recipes that one state learned by, and the seeds that all have.

        Paired as ``contrast`` is; recipes of which this makes sense see the same texts.
        """
        values = pd.concat(
            {recipe: self.values(measure, recipe) for recipe in coefficients}, names=["recipe"]
        )
        rows = [(recipe, *state) for recipe in coefficients]
        known = values.reindex(rows).dropna(axis="columns")
        seeds = [int(seed) for seed in known.columns]
        if not seeds:
            return UNKNOWN, seeds
        samples = [
            [self._sampled({measure: 1.0}, state, recipe, seed) for seed in seeds]
            for recipe in coefficients
        ]
        factors, spread = list(coefficients.values()), spread_beside_seeds(self._trained(values))
        return contrast(factors, samples, spread, self.settings.confidence), seeds

    def sampled(
        self, coefficients: Mapping[State, float], measure: Measure, recipe: Recipes = None
    ) -> Sampled | None:
        """Return Σ c_s y_s over states, mean over the seeds that all have; None where unknown."""
        seeds = self.common_seeds(self.values(measure, recipe), list(coefficients))
        if not seeds:
            return None
        samples = [
            [self._sampled({measure: 1.0}, state, recipe, seed) for seed in seeds]
            for state in coefficients
        ]
        return combination(list(coefficients.values()), samples)

    def difference(
        self,
        measures: Mapping[Measure, float] | Measure,
        left: State,
        right: State,
        recipe: Recipes = None,
    ) -> Estimate:
        """Return left - right, paired."""
        return self.contrast({left: 1.0, right: -1.0}, measures, recipe)

    @staticmethod
    def common_seeds(values: pd.DataFrame, states: Sequence[State]) -> list[int]:
        """Return the columns in which all of some states have a value (of ``values``)."""
        rows = values.index.get_indexer(pd.Index(states))
        if (rows < 0).any():
            return []
        is_known = values.notna().to_numpy()[rows].all(axis=0)
        return [int(seed) for seed in values.columns[np.flatnonzero(is_known)]]

    def num_items(self, measure: Measure, recipe: str | None) -> int:
        """Return of how many units a measure was sampled."""
        return int(self.rows(measure, recipe)["num_items"].iloc[0])

    def rows(self, measure: Measure, recipe: str | None) -> pd.DataFrame:
        """Return the rows of the summary of a measure, a row per run."""
        key = (measure, recipe)
        if key not in self._rows:
            self._rows[key] = rows_of(self.summary, measure, recipe)
        return self._rows[key]

    def values(self, measure: Measure, recipe: Recipes) -> pd.DataFrame:
        """Return the values of a measure: states as rows, seeds (NO_SEED for none) as columns.

        Of several recipes their mean, NaN for a run that one of them lacks.
        """
        if isinstance(recipe, tuple):
            first, *others = (self.values(measure, each) for each in recipe)
            return functools.reduce(operator.add, others, first) / len(recipe)
        key = (measure, recipe)
        if key not in self._values:
            rows = self.rows(measure, recipe)
            seeds = rows["seed"].astype("Int64").fillna(NO_SEED)
            self._values[key] = rows.assign(seed=seeds).pivot(
                index=["step", "variant"], columns="seed", values="value"
            )
        return self._values[key]

    def _weighted(self, weights: Mapping[Measure, float], recipe: Recipes) -> pd.DataFrame:
        first, *others = (w * self.values(measure, recipe) for measure, w in weights.items())
        return functools.reduce(operator.add, others, first)

    def _sampled(
        self, weights: Mapping[Measure, float], state: State, recipe: Recipes, seed: int
    ) -> Sampled:
        """Return the value of a run with its replicates: all equal where nothing was resampled."""
        if isinstance(recipe, tuple):
            runs = [self._sampled(weights, state, each, seed) for each in recipe]
            return combination([1.0], [runs])
        identity = Identity(self.model, *state, recipe, None if recipe is None else seed)
        found = {measure: self.replicates.of(measure, identity) for measure in weights}
        known = [(weights[measure], sample) for measure, sample in found.items() if sample]
        if len(known) < len(weights):
            self._refuse_lost((each for each in weights if not found[each]), identity)
            value = float(self._weighted(weights, recipe)[seed].to_dict()[state])
            return Sampled(value, np.full(2, value), 0.0, "")
        return Sampled(
            sum(weight * sample.value for weight, sample in known),
            np.sum([weight * sample.replicates for weight, sample in known], axis=0),
            max(abs(weight) * sample.unresolved for weight, sample in known),
            " ".join(sample.units for _, sample in known),
        )

    @staticmethod
    def _refuse_lost(measures: Iterable[Measure], identity: Identity) -> None:
        for measure in measures:
            if QUANTITIES[measure.quantity].units:
                raise UserError(f"--replicates: no file has {measure.label} of {identity}")

    def spread(self, estimate: Estimate, unit: str) -> str:
        """Return an estimate in words, with unit and interval."""
        if math.isnan(estimate.low):
            return f"{show(estimate.value, unit)} (no interval)"
        decimals = decimals_of([(estimate.low, estimate.high)], unit)
        value, high = (show(each, unit, decimals) for each in (estimate.value, estimate.high))
        level = f"{100 * self.settings.confidence:g} %"
        return f"{value} ({level} interval {number(estimate.low, unit, decimals)} to {high})"
