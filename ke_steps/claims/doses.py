"""What a dose of entropy does to learning: recipes that differ in its weight alone.

They teach one checkpoint the same texts in the same order, so that the dose is all that differs,
and it was set: what changes with it is its effect. It is an effect of the push; whether entropy
rose is told beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ke_steps.claims.findings import BEYOND, PAIRED, Finding, Part, decide
from ke_steps.claims.learning import recipe_is_measured
from ke_steps.claims.measured import Measured, State
from ke_steps.claims.stages import line_through
from ke_steps.formulas.uncertainty import Estimate
from ke_steps.summary.estimates import interval_kind
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION_FROM_ORIGINAL,
    BITS_AFTER,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    LEARNING_ENTROPY,
    QUANTITIES,
    Measure,
    difference_unit,
    show,
)

MEASURES = (
    KNOWLEDGE_AFTER,
    ACQUISITION_FROM_ORIGINAL,
    ACCURACY_AFTER,
    FORGETTING_ABOVE_CHANCE,
    BITS_AFTER,
    LEARNING_ENTROPY,
)


class _Aim(NamedTuple):
    """What a dose is to raise, and what must not end lower."""

    words: str
    measure: Measure
    guard: Measure


AIMS = (
    _Aim("leaves more new knowledge", KNOWLEDGE_AFTER, ACCURACY_AFTER),
    _Aim("leaves more old knowledge", ACCURACY_AFTER, ACQUISITION_FROM_ORIGINAL),
)


def dose_rows(measured: Measured) -> Iterator[dict[str, Any]]:
    """Yield the rows of DOSES of one model: every dose against the smallest, state by state."""
    for weights in measured.settings.doses.values():
        reference = min(weights, key=lambda recipe: abs(weights[recipe]))
        for recipe in (each for each in weights if each != reference):
            for measure in MEASURES:
                for step, variant in measured.values(measure, recipe).index:
                    change, seeds = measured.between_recipes(
                        {recipe: 1.0, reference: -1.0}, measure, State(step, variant)
                    )
                    if math.isnan(change.value):
                        continue
                    kind = interval_kind(
                        QUANTITIES[measure.quantity].units,
                        is_seeded=len(seeds) > 1,
                    )
                    yield {
                        "model": measured.model,
                        "recipe": recipe,
                        "reference": reference,
                        "weight": weights[recipe],
                        "reference_weight": weights[reference],
                        "step": step,
                        "variant": variant,
                        **measure._asdict(),
                        "unit": difference_unit(measure.unit),
                        **dict(zip(("change", "low", "high"), change[:3], strict=True)),
                        "interval_kind": "" if math.isnan(change.low) else f"{kind}, paired",
                        "num_seeds": len(seeds),
                    }


def doses_change_learning(measured: Measured) -> Iterator[Finding]:
    """A push towards higher entropy while a model learns changes what it ends with."""
    for weights in measured.settings.doses.values():
        for aim in AIMS:
            step = _last_step(measured, weights, aim.measure)
            if step is not None:
                yield _finding(measured, aim, weights, step)


def _last_step(measured: Measured, weights: Mapping[str, float], measure: Measure) -> int | None:
    """Return the last stage that learned by two of the recipes or more."""
    known = [recipe for recipe in weights if recipe_is_measured(measured, measure, recipe)]
    stages = [step for recipe in known for step in measured.by_stage(measure, recipe).index]
    return max((step for step in stages if stages.count(step) > 1), default=None)


def _finding(measured: Measured, aim: _Aim, weights: Mapping[str, float], step: int) -> Finding:
    state = State(step)
    compared = {
        recipe: weight
        for recipe, weight in weights.items()
        if step in measured.by_stage(aim.measure, recipe).index
    }
    line = dict(zip(compared, line_through(len(compared)).tolist(), strict=True))
    effect, guarded = (
        measured.between_recipes(line, measure, state)[0] for measure in (aim.measure, aim.guard)
    )
    margin = measured.settings.non_inferiority_margin
    decision = decide([Part(effect), Part(guarded, -margin)], measured.settings.confidence)
    words = [
        f"At step {step:,}, by weight: {_by_weight(measured, aim.measure, state, compared)};"
        f" along the line a change of {_spread(measured, effect, aim.measure)}.",
        f"{aim.guard.label}: a change of {_spread(measured, guarded, aim.guard)}.",
        f"{LEARNING_ENTROPY.label}: {_by_weight(measured, LEARNING_ENTROPY, state, compared)}.",
    ]
    return Finding(
        f"entropy_dose_raises_{aim.measure.quantity}",
        f"More entropy of contributions while it learns {aim.words}: {aim.measure.label} rises with"
        " the weight of that entropy in the loss.",
        BEYOND,
        _rule(aim, margin),
        " ".join(words),
        decision.verdict,
        decision.p_value,
        len(compared),
        difference_unit(aim.measure.unit),
        effect,
        list(compared)[-1],
    )


def _by_weight(
    measured: Measured, measure: Measure, state: State, weights: Mapping[str, float]
) -> str:
    told = []
    for recipe, weight in weights.items():
        value = measured.estimate(measure, state, recipe).value
        words = "not told" if math.isnan(value) else show(value, measure.unit)
        told.append(f"{words} at {weight:g}")
    return ", ".join(told)


def _spread(measured: Measured, estimate: Estimate, measure: Measure) -> str:
    if math.isnan(estimate.value):
        return "unknown size"
    return measured.spread(estimate, difference_unit(measure.unit))


def _rule(aim: _Aim, margin: float) -> str:
    return (
        "Recipes that differ in contribution_entropy_weight alone, at the last stage that two of"
        f" them learned from. Supported if {aim.measure.label} has the interval of its change from"
        " the lowest weight to the highest (along the straight line through several, in their"
        f" order) above zero, and {aim.guard.label} ends lower by no more than"
        f" {show(margin, 'points')} with its whole interval; not supported if one of these has its"
        f" interval on the other side. {PAIRED} Where the weight is 0 nothing is hooked into"
        " learning, and its entropy is not told."
    )
