"""Does entropy foretell what runs of pretraining learn and forget, beyond its rivals?

Judged between runs alone, each foretold by the others: within one run everything shares its clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ke_steps.claims.findings import (
    BEYOND,
    INCONCLUSIVE,
    NOT_TESTED,
    SUPPORTED,
    Finding,
)
from ke_steps.claims.measured import Measured
from ke_steps.claims.regressions import lost_models
from ke_steps.formulas.between_runs import orders_of
from ke_steps.formulas.contest import Contest, contest, error_of
from ke_steps.formulas.uncertainty import UNKNOWN
from ke_steps.settings.telling import MIN_RUNS_OF_PRETRAINING, SummarizeJob
from ke_steps.summary.between_runs import RunsOfPretraining, side_by_side
from ke_steps.summary.points import group_names, rows_of
from ke_steps.summary.quantities import (
    FORGETTING_ABOVE_CHANCE,
    HELD_OUT_LOSS,
    KNOWLEDGE_AFTER,
    PARTICIPATION_RATIO,
    SENSITIVITY,
    Measure,
    show,
    show_p,
)

NUM_ORDERS = 10_000
"""In which runs are permuted; all there are where those are fewer."""

NO_CONTEST = Contest(UNKNOWN, math.nan)
OUTCOMES = {
    "knowledge_after_is_foretold_by_entropy": KNOWLEDGE_AFTER,
    "forgetting_is_foretold_by_entropy": FORGETTING_ABOVE_CHANCE,
}
"""By claim."""


class Contested(NamedTuple):
    """What one claim comes to, with a study's first recipe."""

    claim: str
    outcome: Measure
    recipe: str
    runs: RunsOfPretraining
    rivals: dict[str, Measure]
    """Those that all runs have, by label."""
    found: Contest

    def predictors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield sets of predictors (number, runs, steps) by name: none, each alone, together."""
        panel = self.runs.panel
        entropy = panel.entropy[None]
        yield "family and stage", panel.covariates[:0]
        for number, label in enumerate(self.rivals):
            yield label, panel.covariates[number : number + 1]
        yield "H", entropy
        yield "all but H", panel.covariates
        yield "all and H", np.concatenate([panel.covariates, entropy])


def contests(models: Sequence[Measured], runs: pd.DataFrame) -> list[Contested]:
    """Return the contests of a study; none where rivals are not measured, or nothing is learned.

    Args:
        models: what was measured on each.
        runs: a frame of RUNS.
    """
    recipes = [recipe for measured in models for recipe in measured.recipes()]
    estimates = pd.concat([measured.estimates for measured in models], ignore_index=True)
    scales = group_names(estimates, SENSITIVITY)
    if not recipes or not scales:
        return []
    rivals = {
        "held-out loss": HELD_OUT_LOSS,
        "sensitivity": Measure(SENSITIVITY, scales[0]),
        "participation ratio": PARTICIPATION_RATIO,
    }
    settings = models[0].settings
    without = lost_models(models, runs, recipes[0])
    found = []
    for claim, outcome in OUTCOMES.items():
        if len(rows_of(estimates, outcome, recipes[0])):
            compared = side_by_side(
                estimates,
                settings.families,
                outcome,
                recipes[0],
                without,
                beside=list(rivals.values()),
            )
            known = {label: each for label, each in rivals.items() if each in compared.beside}
            result = _contest(compared, settings)
            found.append(Contested(claim, outcome, recipes[0], compared, known, result))
    return found


def _contest(runs: RunsOfPretraining, settings: SummarizeJob) -> Contest:
    if len(runs.models) < MIN_RUNS_OF_PRETRAINING or not runs.steps:
        return NO_CONTEST
    orders = orders_of(runs.panel.strata, NUM_ORDERS, settings.seed)
    return contest(runs.panel, orders, settings.confidence)


def findings_of_contests(
    models: Sequence[Measured], found: Sequence[Contested]
) -> Iterator[tuple[str, Finding]]:
    """Yield what each contest is about, families or else all models, and its finding."""
    for each in found:
        names = dict.fromkeys(each.runs.families) or [measured.model for measured in models]
        settings = models[0].settings
        reduction, p_value = each.found
        is_certain = p_value < 1 - settings.confidence and reduction.low > 0
        verdict = SUPPORTED if is_certain else INCONCLUSIVE
        finding = Finding(
            each.claim,
            f"Between runs of pretraining, entropy foretells {each.outcome.label} beyond its"
            " rivals.",
            BEYOND,
            _rule(each.outcome, settings.confidence),
            " ".join(_evidence(each, models)),
            NOT_TESTED if math.isnan(p_value) else verdict,
            p_value,
            len(each.runs.models),
            "fraction",
            reduction,
            each.recipe,
        )
        yield ", ".join(names), finding


def _evidence(each: Contested, models: Sequence[Measured]) -> Iterator[str]:
    """Yield sentences."""
    runs, label = each.runs, each.outcome.label
    num_runs = len(runs.models)
    if num_runs < MIN_RUNS_OF_PRETRAINING:
        yield (
            f"Whether entropy foretells {label} beyond its rivals cannot be answered here: it takes"
            f" at least {MIN_RUNS_OF_PRETRAINING} runs of pretraining, none of them alone in its"
            f" family, and of the {len(models)} in this study {num_runs} count."
        )
        return
    if not runs.steps:
        yield f"{num_runs} runs share no stage at which H and {label} are known."
        return
    rivals = ", ".join(each.rivals) or "none, as no rival is known of all runs there"
    yield (
        f"{num_runs} runs, each foretold by the others, at step"
        f" {', '.join(f'{step:,}' for step in runs.steps)}; rivals: {rivals}."
    )
    if math.isnan(each.found.p_value):
        yield "Not defined, as H or the outcome differs in nothing beside the rest."
        return
    errors = dict(errors_of(each))
    unit = each.outcome.unit
    yield (
        f"The error is {show(errors['all but H'], unit)} without H and"
        f" {show(errors['all and H'], unit)} with it: H takes"
        f" {models[0].spread(each.found.reduction, 'fraction')} of its square away,"
        f" {show_p(each.found.p_value)}."
    )


def errors_of(each: Contested) -> Iterator[tuple[str, float]]:
    """Yield the error of each set of predictors, in the outcome's unit."""
    for name, predictors in each.predictors():
        yield name, error_of(each.runs.panel.outcome, predictors, each.runs.panel.strata)


def _rule(outcome: Measure, confidence: float) -> str:
    return (
        f"{outcome.label}, mean over seeds of learning, of each run is foretold by a regression"
        " over all other runs: an effect of the family at each stage, which holds tokens per"
        " parameter as well, and the rivals (held-out loss, sensitivity to noise, participation"
        " ratio), without H and with it. Supported if H lowers the mean squared error with its"
        " whole interval (Student's t over runs), and p, one-sided, by permuting within families"
        f" what the courses of H are beside the rivals, is below {1 - confidence:.2g}; else"
        " inconclusive: that it foretells nothing cannot be shown so. At least"
        f" {MIN_RUNS_OF_PRETRAINING} runs that are not alone in their family, at the stages that"
        " all of them have, with the first recipe."
    )


def contest_rows(found: Sequence[Contested]) -> Iterator[dict[str, Any]]:
    """Yield the rows of CONTESTS: the error of every set of predictors."""
    for each in found:
        if math.isnan(each.found.p_value):
            continue
        for name, error in errors_of(each):
            yield {
                "recipe": each.recipe,
                **each.outcome._asdict(),
                "unit": each.outcome.unit,
                "predictors": name,
                "error": error,
                "num_runs": len(each.runs.models),
                "num_stages": len(each.runs.steps),
            }
