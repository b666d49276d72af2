"""What a claim is decided from: the measurements of one model, and the one rule for verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from ke_steps._correlations import stages_of
from ke_steps._estimates import (
    Estimate,
    SeedSpread,
    difference_of,
    mean_of,
    pooled_spread,
)
from ke_steps._quantities import show
from ke_steps.settings import ORIGINAL, Summarize

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"
UNPAIRED = "The bootstrap errors of the two are combined as if independent."
WITH_SEEDS = (
    "Errors: bootstrap over passages or items, and between seeds (pooled over checkpoints and"
    " variants; unknown with one seed), combined as if independent."
)
MODEL, ALL_PROBES, ALL_TASKS = "model", "all/all", "mean"


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


class Measured(NamedTuple):
    """What was measured on one model, and how sure a statement must be."""

    model: str
    summary: pd.DataFrame
    correlations: pd.DataFrame
    settings: Summarize

    def stages(self) -> list[int]:
        """Return the steps of the pretraining stages, ascending."""
        return sorted(int(step) for step in stages_of(self.summary)["step"].unique())

    def recipes(self) -> list[str]:
        """Return the recipes in the order of the summary."""
        return list(self.summary["recipe"].dropna().unique())

    def variants(self) -> list[str]:
        """Return the interventions in the order of the summary."""
        return [name for name in self.summary["variant"].unique() if name != ORIGINAL]

    def runs(
        self,
        quantity: str,
        group: str,
        step: int,
        variant: str = ORIGINAL,
        recipe: str | None = None,
    ) -> pd.DataFrame:
        """Return seed, value, low and high of one quantity: one row per seed."""
        rows = self._rows(quantity, group, recipe)
        same_state = (rows["step"] == step) & (rows["variant"] == variant)
        return rows[same_state][["seed", "value", "low", "high"]]

    def mean(self, quantity: str, group: str, step: int, recipe: str) -> Estimate:
        """Return the mean over seeds at an original checkpoint."""
        return mean_of(
            self.runs(quantity, group, step, recipe=recipe),
            self._seed_spread(quantity, group, recipe),
            self.settings.confidence,
        )

    def difference(
        self,
        quantity: str,
        group: str,
        left: tuple[int, str],
        right: tuple[int, str],
        recipe: str | None = None,
    ) -> Estimate:
        """Return left - right, each a step and a variant."""
        return difference_of(
            self.runs(quantity, group, *left, recipe),
            self.runs(quantity, group, *right, recipe),
            self._seed_spread(quantity, group, recipe),
            self.settings.confidence,
        )

    def _seed_spread(self, quantity: str, group: str, recipe: str | None) -> SeedSpread:
        rows = self._rows(quantity, group, recipe)
        return pooled_spread(rows[rows["step"] > 0])

    def _rows(self, quantity: str, group: str, recipe: str | None) -> pd.DataFrame:
        rows = self.summary
        same_recipe = rows["recipe"].isna() if recipe is None else rows["recipe"] == recipe
        return rows[(rows["quantity"] == quantity) & (rows["group"] == group) & same_recipe]

    def spread(self, estimate: Estimate, unit: str) -> str:
        """Return an estimate in words, with unit and interval."""
        low = show(estimate.low, unit).split()[0]
        level = f"{100 * self.settings.confidence:g} %"
        value = show(estimate.value, unit)
        return f"{value} ({level} interval {low} to {show(estimate.high, unit)})"

    def has_trend(self) -> bool:
        """Tell whether there are enough stages for a claim about a trend."""
        return len(self.stages()) >= self.settings.min_points

    def too_few(self) -> str:
        """Return the evidence when there is no trend to judge."""
        return (
            f"{len(self.stages())} pretraining stages;"
            f" a trend needs at least {self.settings.min_points}."
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
