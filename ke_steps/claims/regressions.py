"""Regressions of learning on entropy between runs of pretraining, at the same stages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ke_steps.claims.measured import Measured
from ke_steps.formulas.between_runs import (
    Order,
    Panel,
    orders_of,
    residuals,
    slope,
    slope_p_value,
)
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.telling import MIN_RUNS_OF_PRETRAINING, SummarizeJob
from ke_steps.summary.between_runs import RunsOfPretraining, side_by_side
from ke_steps.summary.points import rows_of
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    Measure,
)
from ke_steps.summary.runs import lost_states

NUM_ORDERS = 50_000
"""In which runs are permuted; all there are where those are fewer, as for eight of a family."""


class Claim(NamedTuple):
    """A claim that an outcome of learning rises, or falls, with entropy."""

    name: str
    statement: str
    outcome: Measure
    sign: int


CLAIMS = (
    Claim(
        "knowledge_after_goes_with_entropy_between_runs",
        "Between runs of pretraining, lower entropy goes with less new knowledge after learning.",
        KNOWLEDGE_AFTER,
        1,
    ),
    Claim(
        "accuracy_after_goes_with_entropy_between_runs",
        "Between runs of pretraining, lower entropy goes with less old knowledge after learning.",
        ACCURACY_AFTER,
        1,
    ),
    Claim(
        "forgetting_goes_with_entropy_between_runs",
        "Between runs of pretraining, lower entropy goes with more forgetting.",
        FORGETTING_ABOVE_CHANCE,
        -1,
    ),
)


class Fit(NamedTuple):
    """The slope of an outcome on entropy, and its p by permutation; NaN where there is none."""

    slope: Estimate
    p_value: float


NO_FIT = Fit(UNKNOWN, math.nan)


class Regression(NamedTuple):
    """What one claim comes to under one recipe."""

    claim: Claim
    recipe: str
    runs: RunsOfPretraining
    judged: Fit
    """With held-out loss where the runs have it."""
    without_loss: Fit
    between_families: float
    """The slope with all families taken for one, which is not judged; NaN where there is one."""

    @property
    def has_loss(self) -> bool:
        """Whether held-out loss is in the model that is judged."""
        return len(self.runs.panel.covariates) > 0


def regressions(models: Sequence[Measured], runs: pd.DataFrame) -> list[Regression]:
    """Return the regressions of every outcome and recipe of a study; none where none is a family.

    Args:
        models: what was measured on each.
        runs: a frame of RUNS.
    """
    if not any(measured.model in measured.settings.families for measured in models):
        return []
    estimates = pd.concat([measured.estimates for measured in models], ignore_index=True)
    recipes = dict.fromkeys(recipe for measured in models for recipe in measured.recipes())
    settings = models[0].settings
    found = []
    for claim in CLAIMS:
        for recipe in recipes:
            if len(rows_of(estimates, claim.outcome, recipe)):
                without = lost_models(models, runs, recipe)
                families = settings.families
                panel = side_by_side(estimates, families, claim.outcome, recipe, without)
                found.append(_regression(claim, recipe, panel, settings))
    return found


def lost_models(models: Sequence[Measured], runs: pd.DataFrame, recipe: str) -> set[str]:
    """Return the models of which some stage has only runs of a recipe that diverged."""
    trained = {(each.model, step) for each in models for step in each.stages()}
    return {
        model
        for model, step, variant, of_recipe in lost_states(runs)
        if (model, step) in trained and variant == ORIGINAL and of_recipe == recipe
    }


def _regression(
    claim: Claim, recipe: str, runs: RunsOfPretraining, settings: SummarizeJob
) -> Regression:
    if len(runs.models) < MIN_RUNS_OF_PRETRAINING or not runs.steps:
        return Regression(claim, recipe, runs, NO_FIT, NO_FIT, math.nan)
    panel = runs.panel
    orders = orders_of(panel.strata, NUM_ORDERS, settings.seed)
    whole = panel._replace(strata=np.zeros_like(panel.strata))
    return Regression(
        claim,
        recipe,
        runs,
        _fit(panel, orders, settings),
        _fit(panel.alone(), orders, settings),
        _slope(whole, settings).value if panel.strata.any() else math.nan,
    )


def _fit(panel: Panel, orders: Order, settings: SummarizeJob) -> Fit:
    return Fit(_slope(panel, settings), slope_p_value(panel, orders))


def _slope(panel: Panel, settings: SummarizeJob) -> Estimate:
    return slope(panel, settings.num_bootstrap, settings.seed, settings.confidence)


def rows_between_runs(found: Sequence[Regression]) -> Iterator[dict[str, Any]]:
    """Yield the rows of BETWEEN_RUNS: what each slope is fitted to, a row per run and stage."""
    for each in found:
        if math.isnan(each.judged.p_value):
            continue
        entropy, outcome = residuals(each.runs.panel)
        value, low, high, _ = each.judged.slope
        for run, (model, family) in enumerate(
            zip(each.runs.models, each.runs.families, strict=True)
        ):
            for stage, step in enumerate(each.runs.steps):
                yield {
                    "recipe": each.recipe,
                    **each.claim.outcome._asdict(),
                    "unit": each.claim.outcome.unit,
                    "beside_loss": each.has_loss,
                    "family": family,
                    "model": model,
                    "step": step,
                    "entropy_residual_nats": entropy[run, stage],
                    "residual": outcome[run, stage],
                    "slope": value,
                    "slope_low": low,
                    "slope_high": high,
                    "p_value": each.judged.p_value,
                }
