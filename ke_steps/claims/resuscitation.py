"""Claims about resuscitation, and whether it does what its name says (FACTS section 5).

A and F compare a model with itself before learning. An intervention that first damages the model
leaves it more to regain and less to forget, so that both improve: a claim about either also looks
at where the variant *ends*, K or P after learning.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from ke_steps.claims.estimates import UNKNOWN, Estimate
from ke_steps.claims.findings import NOT_SUPPORTED, UNPAIRED, WITH_SEEDS, Finding, Measured, verdict
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION,
    BEFORE_LEARNING,
    ENTROPY,
    FORGETTING,
    KNOWLEDGE_AFTER,
    Measure,
    difference_unit,
    show,
)

Place = tuple[int, str]
"""A checkpoint's step and a variant."""


class Aim(NamedTuple):
    """What an intervention is to do to a measure, and what must not end worse for it."""

    verb: str
    measure: Measure
    sign: int
    end: Measure | None = None


HIGHER_ENTROPY = Aim("raises", ENTROPY, 1)
MORE_ACQUISITION = Aim("improves", ACQUISITION, 1, KNOWLEDGE_AFTER)
LESS_FORGETTING = Aim("lowers", FORGETTING, -1, ACCURACY_AFTER)


def _variant_changes(measured: Measured, aim: Aim, claim: str, change: str) -> Iterator[Finding]:
    """Yield a finding per variant and recipe."""
    is_before_learning = aim.measure in BEFORE_LEARNING
    rule = (
        f"Supported if {aim.measure.label} of the variant minus that of the original has"
        f" its interval {_good_side(aim)} zero at the last stage that has the"
        f" variant; not supported if on the other side{_end_rule(aim)}."
        f" {UNPAIRED if is_before_learning else WITH_SEEDS}"
    )
    variants: list[str | None] = [*measured.variants("resuscitate")]
    recipes: list[str | None] = [None] if is_before_learning else [*measured.recipes()]
    for variant, recipe in itertools.product(variants or [None], recipes):
        estimate, evidence, decided = UNKNOWN, "No variant was measured.", verdict([])
        if variant is not None:
            steps = measured.steps_of(variant, recipe)
            if not steps:  # the recipe is limited to other variants
                continue
            places = ((steps[-1], variant), (steps[-1], ORIGINAL))
            estimate, evidence, decided = _judge(measured, aim, places, recipe)
        yield Finding(
            claim,
            f"Resuscitation ({variant or 'no variant in this study'}) {change}.",
            rule,
            evidence,
            decided,
            0 if variant is None else 2,
            aim.measure.unit,
            estimate,
            recipe,
            variant,
        )


def _good_side(aim: Aim) -> str:
    return "above" if aim.sign > 0 else "below"


def _end_rule(aim: Aim) -> str:
    if aim.end is None:
        return ""
    return (
        f", or if {aim.end.label} is lower with its interval below zero, because a model"
        " that was damaged first has more to regain and less to forget"
    )


def _judge(
    measured: Measured, aim: Aim, places: tuple[Place, Place], recipe: str | None
) -> tuple[Estimate, str, str]:
    """Return the first place minus the second, the evidence in words, and the verdict."""
    estimate, evidence = _change(measured, aim.measure, places, recipe)
    decided = verdict([estimate if aim.sign > 0 else -estimate])
    if aim.end is not None:
        ending, more_evidence = _change(measured, aim.end, places, recipe)
        evidence = f"{evidence} {more_evidence}"
        decided = NOT_SUPPORTED if ending.high < 0 else decided
    return estimate, evidence, decided


def _change(
    measured: Measured, measure: Measure, places: tuple[Place, Place], recipe: str | None
) -> tuple[Estimate, str]:
    """Return the first place (step, variant) minus the second, and the evidence in words.

    Both are of one step.
    """
    unit = measure.unit
    (step, variant), (_, other) = places
    changed, reference = (measured.runs(measure, *place, recipe) for place in places)
    estimate = measured.difference(measure, *places, recipe)
    evidence = (
        f"{measure.label} at step {step:,}: {show(reference['value'].mean(), unit)}"
        f" {'as it was' if other == ORIGINAL else f'as {other}'},"
        f" {show(changed['value'].mean(), unit)} as {variant}: a change of"
        f" {measured.spread(estimate, difference_unit(unit))}."
    )
    return estimate, evidence


def resuscitation_raises_entropy(measured: Measured) -> Iterator[Finding]:
    """Resuscitation raises the entropy of the modified model (never checked in the reference)."""
    change = "raises the model's entropy"
    yield from _variant_changes(measured, HIGHER_ENTROPY, "resuscitation_raises_entropy", change)


def resuscitation_improves_acquisition(measured: Measured) -> Iterator[Finding]:
    """Resuscitation improves acquisition (FACTS section 5)."""
    claim = "resuscitation_improves_acquisition"
    change = "improves the acquisition of new knowledge"
    yield from _variant_changes(measured, MORE_ACQUISITION, claim, change)


def resuscitation_lowers_forgetting(measured: Measured) -> Iterator[Finding]:
    """Resuscitation lowers forgetting (FACTS section 5)."""
    claim = "resuscitation_lowers_forgetting"
    yield from _variant_changes(measured, LESS_FORGETTING, claim, "lowers forgetting")


def resuscitation_beats_temperature(measured: Measured) -> Iterator[Finding]:
    """Waking memories does more than broadening attention (FACTS section 5)."""
    for recipe in measured.recipes():
        woken, tempered = (
            {
                name: set(measured.steps_of(name, recipe))
                for kind in kinds
                for name in measured.variants(kind)
            }
            for kinds in (("resuscitate",), ("temper_attention", "rescale_queries"))
        )
        shared = set().union(*woken.values()) & set().union(*tempered.values())
        if shared:
            last = max(shared)
            rivals = [
                [name for name, steps in names.items() if last in steps]
                for names in (woken, tempered)
            ]
            yield _contest(measured, MORE_ACQUISITION, rivals, last, recipe)
            yield _contest(measured, LESS_FORGETTING, rivals, last, recipe)


def _contest(
    measured: Measured, aim: Aim, rivals: list[list[str]], step: int, recipe: str
) -> Finding:
    """Compare the best variant of each kind at one checkpoint."""

    def success(name: str) -> float:
        values = measured.runs(aim.measure, step, name, recipe)["value"]
        return float(aim.sign * values.mean())

    woken, tempered = (max(names, key=success) for names in rivals)
    places = ((step, woken), (step, tempered))
    estimate, evidence, decided = _judge(measured, aim, places, recipe)
    quantity = aim.measure.quantity
    return Finding(
        f"resuscitation_{aim.verb}_{quantity}_more_than_temperature",
        f"Resuscitation {aim.verb} {quantity} more than an attention temperature does.",
        f"Supported if {aim.measure.label} of the best resuscitation minus that of the"
        f" best temperature has its interval {_good_side(aim)} zero at the last"
        f" stage that has both; not supported if on the other side{_end_rule(aim)}. Each best is"
        f" chosen after looking. {WITH_SEEDS}",
        evidence,
        decided,
        len(rivals[0]) + len(rivals[1]),
        aim.measure.unit,
        estimate,
        recipe,
        woken,
    )
