"""Claims about the course of one measure over the stages of pretraining: one rule for all of them.

The course is told by the straight line through the stages in their order, by least squares: how
much it changes from the first stage to the last. Its interval is that of a paired contrast. What
the verdict would be without each single stage is told beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ke_steps.claims.findings import (
    DECIDED,
    NOT_TESTED,
    PAIRED,
    Decision,
    Finding,
    Part,
    capital,
    decide,
)
from ke_steps.claims.measured import Measured, State
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate
from ke_steps.summary.points import spread_indices
from ke_steps.summary.quantities import Measure, difference_unit, show

MIN_LINE = 3
"""A line through two points leaves nothing to be seen beside it."""
MAX_TOLD = 12
"""Stages of which the evidence tells the value: the figures and tables have all."""


class Claim(NamedTuple):
    """A claim that a measure falls, or rises, over the stages."""

    name: str
    statement: str
    origin: str
    measure: Measure
    sign: int
    """1 for a rise, -1 for a fall."""
    smallest: float = 0.0
    """The smallest change of interest, in the measure's unit."""
    remark: str = ""
    """What the rule says beside."""


def line_through(num_stages: int) -> np.ndarray:
    """Return the coefficients of the change from first to last along the fitted line (n,)."""
    order = np.arange(num_stages) - (num_stages - 1) / 2
    coefficients: np.ndarray = (num_stages - 1) * order / (order @ order)
    return coefficients


def change_over(
    measured: Measured,
    measures: Mapping[Measure, float] | Measure,
    stages: Sequence[int],
    recipe: str | None,
) -> Estimate:
    """Return the change along the line from the first of some stages to the last."""
    coefficients = line_through(len(stages)).tolist()
    states = [State(step) for step in stages]
    return measured.contrast(dict(zip(states, coefficients, strict=True)), measures, recipe)


def over_stages(measured: Measured, claim: Claim, recipe: str | None = None) -> Finding:
    """Decide a claim about the course of a measure."""
    values = measured.by_stage(claim.measure, recipe)
    stages = list(values.index)
    change, decision, hangs_on = UNKNOWN, Decision(NOT_TESTED, np.nan), None
    evidence = too_few(measured, len(stages))
    if len(stages) >= measured.settings.min_points:
        change = change_over(measured, claim.measure, stages, recipe)
        decision = _decide(measured, claim, change)
        others = _without_each(measured, claim, stages, recipe, decision)
        hangs_on = next(iter(others), None)
        evidence = _evidence(measured, claim, values, change, others)
    return Finding(
        claim.name,
        claim.statement,
        claim.origin,
        _rule(claim),
        evidence,
        decision.verdict,
        decision.p_value,
        len(stages),
        difference_unit(claim.measure.unit),
        change,
        recipe,
        decided_by_step=hangs_on,
    )


def _evidence(
    measured: Measured, claim: Claim, values: pd.Series, change: Estimate, others: dict[int, str]
) -> str:
    unit = claim.measure.unit
    told = values.iloc[spread_indices(len(values), MAX_TOLD)]
    course = "; ".join(f"{show(value, unit)} at step {step:,}" for step, value in told.items())
    some = f" ({len(told)} of {len(values)} stages)" if len(told) < len(values) else ""
    words = [
        f"{capital(claim.measure.label)}: {course}{some}. Along the line from first to last a"
        f" change of {measured.spread(change, difference_unit(unit))}.",
        *(f"Without step {step:,} it would be {words}." for step, words in others.items()),
    ]
    return " ".join(words)


def too_few(measured: Measured, num_stages: int) -> str:
    """Return the evidence where there are too few stages for a claim about their course."""
    stages = f"{num_stages} pretraining stage{'s' * (num_stages != 1)}"
    return f"{stages}; a course needs at least {measured.settings.min_points}."


def _decide(measured: Measured, claim: Claim, change: Estimate) -> Decision:
    claimed = change if claim.sign > 0 else -change
    return decide([Part(claimed, claim.smallest)], measured.settings.confidence)


def _without_each(
    measured: Measured,
    claim: Claim,
    stages: Sequence[int],
    recipe: str | None,
    decision: Decision,
) -> dict[int, str]:
    """Return the stages without which a decided claim would get another verdict, with that one."""
    if decision.verdict not in DECIDED or len(stages) <= MIN_LINE:
        return {}
    verdicts = {}
    for left_out in stages:
        others = [step for step in stages if step != left_out]
        change = change_over(measured, claim.measure, others, recipe)
        verdicts[left_out] = _decide(measured, claim, change).verdict
    return {step: verdict for step, verdict in verdicts.items() if verdict != decision.verdict}


def _rule(claim: Claim) -> str:
    direction = "rise" if claim.sign > 0 else "fall"
    if claim.smallest:
        unit = difference_unit(claim.measure.unit)
        bound = f"{show(claim.smallest, unit)}, the smallest {direction} of interest"
    else:
        bound = "zero"
    rule = (
        f"Supported if the {direction} of {claim.measure.label} along the straight line through the"
        f" stages in their order, from first to last, has its interval above {bound}; not supported"
        f" if below. {PAIRED} {claim.remark}"
    )
    return rule.rstrip()
