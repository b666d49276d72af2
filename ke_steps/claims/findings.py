"""What a claim is decided from: the measurements of one model, and the one rule for verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from ke_steps.claims.estimates import Estimate, SeedSpread, difference_of, mean_of, pooled_spread
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.telling import SummarizeJob
from ke_steps.summary.points import by_stage, rows_of, stages_of
from ke_steps.summary.quantities import Measure, show

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"
UNPAIRED = "The bootstrap errors of the two are combined as if independent."
WITH_SEEDS = (
    "Errors: bootstrap over passages or items, and between seeds (pooled over checkpoints and"
    " variants; unknown with one seed), combined as if independent."
)


def verdict(estimates: Sequence[Estimate]) -> str:
    """Decide from estimates that are signed so that the claim says they are all positive.

    Supported when every interval lies above zero, not supported when one lies below, otherwise,
    and when one is unknown or there is none, inconclusive.
    """
    if not estimates or any(math.isnan(estimate.low) for estimate in estimates):
        return INCONCLUSIVE
    if all(estimate.low > 0 for estimate in estimates):
        return SUPPORTED
    return NOT_SUPPORTED if any(estimate.high < 0 for estimate in estimates) else INCONCLUSIVE


@dataclass(frozen=True)
class Measured:
    """What was measured on one model, and how sure a statement must be.

    ``states`` has step, variant and recipe of everything measured. Rows of the summary that were
    asked for are kept: claims ask for the same ones again and again.
    """

    model: str
    summary: pd.DataFrame
    states: pd.DataFrame
    correlations: pd.DataFrame
    settings: SummarizeJob
    _found: dict[tuple[Measure, str | None], pd.DataFrame] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: str, summary: pd.DataFrame, correlations: pd.DataFrame, settings: SummarizeJob
    ) -> Measured:
        """Return one model's part of the summary and the correlations."""
        summary = summary[summary["model"] == model]
        states = summary[["step", "variant", "recipe"]].drop_duplicates()
        pairs = correlations[correlations["model"] == model]
        return cls(model, summary, states, pairs, settings)

    def stages(self, recipe: str | None = None) -> list[int]:
        """Return the steps of the pretraining stages, or of those with a recipe, ascending."""
        stages = stages_of(self.states)
        chosen = stages if recipe is None else stages[stages["recipe"] == recipe]
        return sorted(int(step) for step in chosen["step"].unique())

    def recipes(self) -> list[str]:
        """Return the recipes in the order of the summary."""
        return list(self.states["recipe"].dropna().unique())

    def variants(self, kind: str) -> list[str]:
        """Return the interventions of a kind in the order of the summary."""
        kinds = self.settings.variant_kinds
        return [name for name in self.states["variant"].unique() if kinds.get(name) == kind]

    def steps_of(self, variant: str, recipe: str | None = None) -> list[int]:
        """Return the checkpoints that were measured as a variant, or learned as one, ascending."""
        rows = self.states[self.states["variant"] == variant]
        chosen = rows if recipe is None else rows[rows["recipe"] == recipe]
        return sorted(int(step) for step in chosen["step"].unique())

    def by_stage(self, measure: Measure, recipe: str | None = None) -> pd.Series:
        """Return the means over seeds by pretraining stage, ascending; unknown ones left out."""
        values = by_stage(self.summary, self.model, measure, recipe)
        return values.groupby(level="step").mean().dropna()

    def runs(
        self, measure: Measure, step: int, variant: str = ORIGINAL, recipe: str | None = None
    ) -> pd.DataFrame:
        """Return seed, value, low and high of one measure: one row per seed."""
        rows = self._rows(measure, recipe)
        same_state = (rows["step"] == step) & (rows["variant"] == variant)
        return rows[same_state][["seed", "value", "low", "high"]]

    def mean(self, measure: Measure, step: int, recipe: str) -> Estimate:
        """Return the mean over seeds at an original checkpoint."""
        return mean_of(
            self.runs(measure, step, recipe=recipe),
            self._seed_spread(measure, recipe),
            self.settings.confidence,
        )

    def difference(
        self,
        measure: Measure,
        left: tuple[int, str],
        right: tuple[int, str],
        recipe: str | None = None,
    ) -> Estimate:
        """Return left - right, each a step and a variant."""
        return difference_of(
            self.runs(measure, *left, recipe),
            self.runs(measure, *right, recipe),
            self._seed_spread(measure, recipe),
            self.settings.confidence,
        )

    def _seed_spread(self, measure: Measure, recipe: str | None) -> SeedSpread:
        rows = self._rows(measure, recipe)
        return pooled_spread(rows[rows["step"] > 0])

    def _rows(self, measure: Measure, recipe: str | None) -> pd.DataFrame:
        if (measure, recipe) not in self._found:
            self._found[measure, recipe] = rows_of(self.summary, measure, recipe)
        return self._found[measure, recipe]

    def spread(self, estimate: Estimate, unit: str) -> str:
        """Return an estimate in words, with unit and interval."""
        if math.isnan(estimate.low):
            return f"{show(estimate.value, unit)} (no interval)"
        low = show(estimate.low, unit).split()[0]
        level = f"{100 * self.settings.confidence:g} %"
        value = show(estimate.value, unit)
        return f"{value} ({level} interval {low} to {show(estimate.high, unit)})"

    def has_trend(self, recipe: str | None = None) -> bool:
        """Tell whether there are enough stages for a claim about a trend."""
        return len(self.stages(recipe)) >= self.settings.min_points

    def too_few(self, num_stages: int) -> str:
        """Return the evidence when there is no trend to judge."""
        return (
            f"{num_stages} pretraining stages; a trend needs at least {self.settings.min_points}."
        )


class Finding(NamedTuple):
    """One claim decided on one model, and where they apply one recipe and one variant."""

    claim: str
    statement: str
    rule: str
    evidence: str
    verdict: str
    num_points: int
    unit: str
    estimate: Estimate
    recipe: str | None = None
    variant: str | None = None
