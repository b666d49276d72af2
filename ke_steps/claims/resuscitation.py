"""Claims about resuscitation, and whether it does what its name says (FACTS section 5).

A and F compare a model with itself before learning. An intervention that first damages the model
leaves it more to regain and less to forget, so that both improve. A claim that something improves
therefore needs the effect *and* that nothing which could be harmed ends worse by more than a
margin: A* = 1 - K after(variant) / K before(original), one denominator for both, and P after
learning.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ke_steps.claims.findings import (
    BEYOND,
    PAIRED,
    PAPER,
    Decision,
    Finding,
    Part,
    capital,
    decide,
)
from ke_steps.claims.learning import recipe_is_measured
from ke_steps.claims.measured import Measured, State
from ke_steps.formulas.uncertainty import Estimate
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import by_layer
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION,
    ACQUISITION_FROM_ORIGINAL,
    BEFORE_LEARNING,
    ENTROPY,
    FORGETTING,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    Measure,
    difference_unit,
    show,
)

TEMPERATURES = ("temper_attention", "rescale_queries")
"""Kinds of variants that broaden attention in place of the memories: the paper's control."""


class Aim(NamedTuple):
    """What an intervention is to do: to its measures, and which of them must not end worse."""

    verb: str
    measures: tuple[Measure, ...]
    """The effect is on all of them; the first is the one that is told."""
    sign: int
    guards: tuple[Measure, ...] = ()
    shown: tuple[Measure, ...] = ()
    """Told beside, and not judged."""


ENDS = (ACQUISITION_FROM_ORIGINAL, ACCURACY_AFTER)
HIGHER_ENTROPY = Aim("raises", (ENTROPY,), 1)
MORE_ACQUISITION = Aim("improves", (ACQUISITION,), 1, ENDS, (KNOWLEDGE_AFTER,))
LESS_FORGETTING = Aim("lowers", (FORGETTING, FORGETTING_ABOVE_CHANCE), -1, ENDS)
MORE_ACCURACY = Aim("raises", (ACCURACY_AFTER,), 1, (ACQUISITION_FROM_ORIGINAL,))


def resuscitation_raises_entropy(measured: Measured) -> Iterator[Finding]:
    """Resuscitation raises the entropy of the modified model (never checked in the reference)."""
    change = "raises the model's entropy"
    claim = "resuscitation_raises_entropy"
    yield from _variant_changes(measured, HIGHER_ENTROPY, claim, change, BEYOND)


def resuscitation_improves_acquisition(measured: Measured) -> Iterator[Finding]:
    """Resuscitation improves acquisition (FACTS section 5)."""
    claim = "resuscitation_improves_acquisition"
    change = "improves the acquisition of new knowledge"
    yield from _variant_changes(measured, MORE_ACQUISITION, claim, change, PAPER)


def resuscitation_lowers_forgetting(measured: Measured) -> Iterator[Finding]:
    """Resuscitation lowers forgetting (FACTS section 5)."""
    claim = "resuscitation_lowers_forgetting"
    yield from _variant_changes(measured, LESS_FORGETTING, claim, "lowers forgetting", PAPER)


def resuscitation_gains_downstream(measured: Measured) -> Iterator[Finding]:
    """Resuscitation leaves a model that is better downstream (FACTS section 5: P after)."""
    claim = "resuscitation_raises_accuracy_after"
    change = "raises the accuracy after learning"
    yield from _variant_changes(measured, MORE_ACCURACY, claim, change, PAPER)


def _variant_changes(
    measured: Measured, aim: Aim, claim: str, change: str, origin: str
) -> Iterator[Finding]:
    """Yield a finding per variant and recipe."""
    before_learning = aim.measures[0] in BEFORE_LEARNING
    recipes: list[str | None] = [None] if before_learning else [*measured.recipes()]
    for variant, recipe in itertools.product(measured.variants("resuscitate"), recipes):
        steps = measured.steps_of(variant, recipe)
        if not steps:  # the recipe is limited to other variants
            continue
        if recipe and not recipe_is_measured(measured, aim.measures[0], recipe):
            continue
        judged = _judge(measured, aim, State(steps[-1], variant), State(steps[-1]), recipe)
        yield Finding(
            claim,
            f"Resuscitation ({variant}) {change}.",
            origin,
            _rule(measured, aim, "that of the original", "the variant"),
            judged.evidence,
            judged.decision.verdict,
            judged.decision.p_value,
            2,
            difference_unit(aim.measures[0].unit),
            judged.estimate,
            recipe,
            variant,
        )


class _Judged(NamedTuple):
    estimate: Estimate
    evidence: str
    decision: Decision


def _judge(
    measured: Measured,
    aim: Aim,
    changed: State,
    reference: State,
    recipe: str | None,
    *,
    num_tries: int = 1,
) -> _Judged:
    """Judge the first state against the second, of one step, by an aim and its guards."""
    margin = measured.settings.non_inferiority_margin
    smallest = _smallest(measured, aim)
    effects, guards, words = [], [], []
    for measure in (*aim.measures, *aim.guards, *aim.shown):
        difference = measured.difference(measure, changed, reference, recipe)
        words.append(_change(measured, measure, (changed, reference), recipe, difference))
        if measure in aim.measures:
            effects.append(difference)
        elif measure in aim.guards:
            guards.append(Part(difference, -margin))
    told = [Part(each if aim.sign > 0 else -each, smallest) for each in effects]
    decision = decide(told + guards, measured.settings.confidence, num_tries=num_tries)
    return _Judged(effects[0], " ".join(words), decision)


def _smallest(measured: Measured, aim: Aim) -> float:
    if aim.measures[0] != ENTROPY:
        return 0.0
    num_layers = len(by_layer(measured.summary, ENTROPY.quantity))
    return num_layers * measured.settings.smallest_entropy_change_nats


def _change(
    measured: Measured,
    measure: Measure,
    states: Sequence[State],
    recipe: str | None,
    difference: Estimate,
) -> str:
    if recipe and not recipe_is_measured(measured, measure, recipe):
        return f"{capital(measure.label)} was not measured."
    values = [measured.estimate(measure, state, recipe).value for state in states]
    (step, variant), (_, other) = states
    was = "as it was" if other == ORIGINAL else f"as {other}"
    return (
        f"{capital(measure.label)} at step {step:,}: {show(values[1], measure.unit)} {was},"
        f" {show(values[0], measure.unit)} as {variant}: a change of"
        f" {measured.spread(difference, difference_unit(measure.unit))}."
    )


def _rule(measured: Measured, aim: Aim, reference: str, variant: str) -> str:
    labels = " and ".join(measure.label for measure in aim.measures)
    have = "has" if len(aim.measures) == 1 else "have"
    side = "above" if aim.sign > 0 else "below"
    smallest = _smallest(measured, aim)
    bound = f"{show(smallest, 'nats')}, the smallest rise of interest," if smallest else "zero"
    rule = (
        f"Supported if {labels} of {variant} minus {reference} {have} the"
        f" interval {side} {bound} at the last stage that has the variant"
    )
    if aim.guards:
        ends = " and ".join(measure.label for measure in aim.guards)
        margin = show(measured.settings.non_inferiority_margin, "points")
        rule += (
            f", and {ends} end lower by no more than {margin} with their whole interval, because a"
            " model that was damaged first has more to regain and less to forget"
        )
    return f"{rule}; not supported if one of these has its interval on the other side. {PAIRED}"


def resuscitation_beats_temperature(measured: Measured) -> Iterator[Finding]:
    """Waking memories does more than broadening attention (FACTS section 5)."""
    for recipe in measured.recipes():
        aims = [
            aim
            for aim in (MORE_ACQUISITION, LESS_FORGETTING)
            if recipe_is_measured(measured, aim.measures[0], recipe)
        ]
        woken, tempered = (
            {name: set(measured.steps_of(name, recipe)) for name in measured.variants(*kinds)}
            for kinds in (("resuscitate",), TEMPERATURES)
        )
        shared = set().union(*woken.values()) & set().union(*tempered.values())
        if shared:
            last = max(shared)
            rivals = [
                [name for name, steps in names.items() if last in steps]
                for names in (woken, tempered)
            ]
            yield from (_contest(measured, aim, rivals, last, recipe) for aim in aims)


def _contest(
    measured: Measured, aim: Aim, rivals: list[list[str]], step: int, recipe: str
) -> Finding:
    """Compare the best variant of each kind at one checkpoint."""

    def success(name: str) -> float:
        return aim.sign * measured.estimate(aim.measures[0], State(step, name), recipe).value

    woken, tempered = (max(names, key=success) for names in rivals)
    num_tries = len(rivals[0]) * len(rivals[1])
    states = State(step, woken), State(step, tempered)
    judged = _judge(measured, aim, *states, recipe, num_tries=num_tries)
    quantity = aim.measures[0].quantity
    rule = _rule(measured, aim, "that of the best temperature", "the best resuscitation")
    return Finding(
        f"resuscitation_{aim.verb}_{quantity}_more_than_temperature",
        f"Resuscitation {aim.verb} {quantity} more than an attention temperature does.",
        PAPER,
        f"{rule} As they were chosen, p is multiplied by the number of pairs to choose among.",
        judged.evidence,
        judged.decision.verdict,
        judged.decision.p_value,
        len(rivals[0]) + len(rivals[1]),
        difference_unit(aim.measures[0].unit),
        judged.estimate,
        recipe,
        woken,
        chosen_after_looking=num_tries > 1,
    )
