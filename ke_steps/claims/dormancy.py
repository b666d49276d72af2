"""The claim that it matters which memories are woken: the dormant ones, or any.

The same multipliers on memories drawn at random are as large a push. How a push turns out depends
on the draw, so that draws are the unit, and waking the dormant must beat all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ke_steps.claims.effects import Arms, over_rates, shared_recipes, that_learned, versus
from ke_steps.claims.findings import BEYOND, PAIRED, Finding, Part, decide
from ke_steps.claims.measured import Measured, State
from ke_steps.formulas.uncertainty import UNKNOWN
from ke_steps.summary.quantities import ACCURACY_AFTER, KNOWLEDGE_AFTER, show

WAKING = ("resuscitate", "gauge")
"""Kinds that raise the coefficients of dormant memories."""


def of_dormancy(
    measured: Measured, steps: Sequence[Arms], group: str, recipes: Sequence[str]
) -> Iterator[Finding]:
    """Yield a finding for each kind that wakes memories, at the last step that has its draws."""
    for kind in WAKING:
        having = [arms for arms in steps if kind in arms.kinds]
        woken = [arms for arms in having if that_learned(measured, [arms.kinds[kind]], recipes)]
        drawn = [arms for arms in woken if _draws(measured, arms, kind, recipes)]
        if woken:
            yield _finding(measured, (drawn or woken)[-1], kind, group, recipes)


def _draws(measured: Measured, arms: Arms, kind: str, recipes: Sequence[str]) -> list[State]:
    return that_learned(measured, arms.controls.get((kind, "permuted"), []), recipes)


def _finding(
    measured: Measured, arms: Arms, kind: str, group: str, recipes: Sequence[str]
) -> Finding:
    arm, draws = arms.kinds[kind], _draws(measured, arms, kind, recipes)
    shared = shared_recipes(measured, [arm, *draws], recipes) if draws else ()
    margin, confidence = measured.settings.non_inferiority_margin, measured.settings.confidence
    estimate, parts = UNKNOWN, []
    evidence = (
        f"No draw of kind permuted, of: {kind} and with {arms.said}, learned by the same recipes at"
        f" step {arms.step:,}."
    )
    if shared:
        new, old = (
            versus(measured, arm, draws, measure, shared)
            for measure in (KNOWLEDGE_AFTER, ACCURACY_AFTER)
        )
        estimate = new.mean
        parts = [Part(each) for each in (new.mean, *new.each)]
        parts += [Part(each, -margin) for each in old.each]
        beaten = sum(each.low > 0 for each in new.each)
        evidence = (
            f"As {arm.variant} at step {arms.step:,}{over_rates(shared)}: K after less the mean of"
            f" {len(draws)} permuted draw{'s' * (len(draws) > 1)} is"
            f" {measured.spread(new.mean, 'nats')}, P after {measured.spread(old.mean, 'points')}."
            f" K after is surely above that of {beaten} of {len(draws)}."
        )
    decision = decide(parts, confidence)
    return Finding(
        "dormant_memories_learn_more_than_others",
        f"Waking dormant memories does more than the same push on other memories ({arm.variant}).",
        BEYOND,
        "Supported if K after lies above that of every permuted draw with the interval of each"
        " difference, and above their mean by more than one more draw would lie from it (draws are"
        f" the unit: one decides nothing), and P after is lower by no more than"
        f" {show(margin, 'points')} than that of any, with its whole interval; not supported if one"
        f" of these has its interval on the other side. {PAIRED}",
        evidence,
        decision.verdict,
        decision.p_value,
        len(draws),
        "nats",
        estimate,
        group,
        arm.variant,
    )
