"""Claims that one learning rate cannot decide: states are compared over several.

What an intervention buys, or a later stage loses, may be no more than another learning rate gives.
So frontiers of new knowledge against old are compared, and each state at its own best rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from ke_steps.claims.best_rates import Best, best_of, lead_at_best
from ke_steps.claims.findings import BEYOND, PAIRED, Finding, Part, capital, decide
from ke_steps.claims.frontiers import Frontier, Frontiers, frontiers_of
from ke_steps.claims.measured import Measured, State
from ke_steps.formulas.uncertainty import Estimate
from ke_steps.settings.interventions import Control
from ke_steps.settings.telling import MIN_LEARNING_RATES
from ke_steps.summary.quantities import ACCURACY_AFTER, KNOWLEDGE_AFTER, number, show


class Pair(NamedTuple):
    """Two states of which the first is said to learn more, or less, than the second."""

    first: State
    second: State
    name: str
    """The claim is called after it."""
    sign: int
    """1: more; -1: less."""
    subjects: tuple[str, str]
    variant: str | None = None

    @property
    def word(self) -> str:
        """More or less."""
        return "more" if self.sign > 0 else "less"


def learning_rates(measured: Measured) -> Iterator[Finding]:
    """Compare the last stage with the middle one, and variants with their originals."""
    for found in frontiers_of(measured):
        best = best_of(found)
        for pair in _pairs(found):
            yield _by_frontier(found, pair)
            yield _at_best(found, best, pair)


def _pairs(found: Frontiers) -> Iterator[Pair]:
    """Yield what is compared; frontiers need not be whole."""
    stages = sorted(state.step for state in found.states if state == State(state.step))
    if len(stages) > 1:
        # with too few whole frontiers nothing is tested, and these are told
        last, middle = (found.stages() or stages)[-1], found.middle() or stages[0]
        subjects = "the last checkpoint", "the middle one"
        yield Pair(State(last), State(middle), "last_stage", -1, subjects)
    for variant, settings in found.measured.settings.variants.items():
        if isinstance(settings, Control):  # it is there to be compared with ("effects")
            continue
        steps = [step for step, name in found.states if name == variant and step in stages]
        if steps:
            states = State(max(steps), variant), State(max(steps))
            subjects = f"the model as {variant}", "the original"
            yield Pair(*states, "variant", 1, subjects, variant)


def _by_frontier(found: Frontiers, pair: Pair) -> Finding:
    who, whom = pair.subjects
    lead = found.lead(pair.first, pair.second)
    parts = [Part(each if pair.sign > 0 else -each) for each in (lead.knowledge, lead.area)]
    decision = decide(parts, found.measured.settings.confidence)
    rule = (
        f"Supported if the frontier of {who} lies {_side(pair)} that of {whom} in both, K at the"
        " same P (mean over all P that both reach) and dominated area, with the interval of the"
        " difference; not supported if one has its interval on the other side. At least"
        f" {MIN_LEARNING_RATES} learning rates each. {PAIRED}"
    )
    return Finding(
        f"{pair.name}_learns_{pair.word}_by_frontier",
        f"{capital(who)} learns {pair.word} new knowledge for the old that it keeps than {whom}.",
        BEYOND,
        rule,
        " ".join(_told_frontiers(found, pair)),
        decision.verdict,
        decision.p_value,
        min(len(found.states[state].recipes) for state in (pair.first, pair.second)),
        "nats",
        lead.knowledge,
        found.name,
        pair.variant,
    )


def _told_frontiers(found: Frontiers, pair: Pair) -> Iterator[str]:
    """Yield sentences."""
    states = pair.first, pair.second
    few = [state for state in states if not found.states[state].is_whole]
    if few:
        for state in few:
            yield _too_few(found.states[state], state)
        return
    lead = found.lead(*states)
    ranges = [_reach(found.states[state]) for state in states]
    if math.isnan(lead.matched[0]):
        yield (
            f"Not compared at the same P, as there is none that both reach in every seed:"
            f" P after is {ranges[0]} at {_place(states[0])}, {ranges[1]} at {_place(states[1])}."
        )
    else:
        low, high = (number(each, "fraction") for each in lead.matched)
        yield (
            f"K at the same P, of {low} to {high} %, differs by"
            f" {found.measured.spread(lead.knowledge, 'nats')} between {_place(states[0])} and"
            f" {_place(states[1])}."
        )
    chance, unlearned = found.reference
    areas = [show(found.area(state).value, "nats") for state in states]
    yield (
        f"The area above P {show(chance, 'fraction')} and K {show(unlearned, 'nats')} is {areas[0]}"
        f" and {areas[1]}, a difference of {found.measured.spread(lead.area, 'nats')}."
    )


def _at_best(found: Frontiers, best: dict[State, Best], pair: Pair) -> Finding:
    who, whom = pair.subjects
    knowledge, accuracy = lead_at_best(found, best, pair.first, pair.second)
    margin = found.measured.settings.non_inferiority_margin
    parts = [Part(knowledge if pair.sign > 0 else -knowledge)]
    guard = ""
    if pair.variant:
        parts.append(Part(accuracy, -margin))
        cost = show(margin, "points")
        guard = f", and P after ends lower by no more than {cost} with its whole interval"
    decision = decide(parts, found.measured.settings.confidence)
    rule = (
        f"Each at its own best learning rate: that with the highest K after on one half of the"
        f" passages is judged on the other half, and the other way round. Supported if K after of"
        f" {who} lies {_side(pair)} that of {whom} with the interval of the difference{guard}; not"
        f" supported if on the other side. At least {MIN_LEARNING_RATES} learning rates each."
        f" {PAIRED}"
    )
    return Finding(
        f"{pair.name}_learns_{pair.word}_at_best_rate",
        f"At the best learning rate of each, {who} ends with {pair.word} new knowledge than"
        f" {whom}.",
        BEYOND,
        rule,
        " ".join(_told_best(found, best, pair, (knowledge, accuracy))),
        decision.verdict,
        decision.p_value,
        min(len(found.states[state].recipes) for state in (pair.first, pair.second)),
        "nats",
        knowledge,
        found.name,
        pair.variant,
    )


def _told_best(
    found: Frontiers, best: dict[State, Best], pair: Pair, leads: tuple[Estimate, Estimate]
) -> Iterator[str]:
    """Yield sentences."""
    for state in (pair.first, pair.second):
        if not found.states[state].is_whole:
            yield _too_few(found.states[state], state)
        elif state in best:
            rates = dict.fromkeys(f"{found.rates[name]:g}" for name in best[state].recipes)
            edges = {found.states[state].recipes[place] for place in (0, -1)}
            edge = " (at the edge of the grid)" if edges & set(best[state].recipes) else ""
            yield f"Best at {_place(state)}: {' and '.join(rates)}{edge}."
    if not math.isnan(leads[0].value):
        for measure, lead, unit in (
            (KNOWLEDGE_AFTER, leads[0], "nats"),
            (ACCURACY_AFTER, leads[1], "points"),
        ):
            yield f"{measure.label} differs by {found.measured.spread(lead, unit)}."


def _too_few(frontier: Frontier, state: State) -> str:
    number_of = len(frontier.recipes)
    shared = "" if frontier.points or not number_of else ", and no seed has them all"
    return (
        f"{number_of} learning rate{'s' * (number_of != 1)} with K and P after learning at"
        f" {_place(state)}{shared}; a frontier needs {MIN_LEARNING_RATES}."
    )


def _reach(frontier: Frontier) -> str:
    """Return the range of P of a whole frontier, mean over seeds, in words."""
    old = sum(points.accuracy[0] for points in frontier.points.values()) / len(frontier.points)
    return f"{number(old.min(), 'fraction')} to {show(old.max(), 'fraction')}"


def _place(state: State) -> str:
    return f"step {state.step:,}" + (f" as {state.variant}" if state != State(state.step) else "")


def _side(pair: Pair) -> str:
    return "above" if pair.sign > 0 else "below"
