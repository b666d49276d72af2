"""The claim that absolute entropy as such changes learning: gauges of which learning knows.

A gauge leaves the function and moves absolute H, but it also changes how fast each memory learns.
A recipe with ``compensate_gauge`` undoes that. So a gauge that learned by it differs from the
original in absolute H and in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ke_steps.claims.effects import (
    CHANGES,
    changes_learning,
    is_other_than_zero,
    mean_difference,
    over_rates,
    recipe_groups,
    shared_recipes,
)
from ke_steps.claims.findings import BEYOND, PAIRED, SUPPORTED, Decision, Finding, decide
from ke_steps.claims.measured import Measured, State
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate
from ke_steps.settings.interventions import GAUGES
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION_FROM_ORIGINAL,
    BEFORE_LEARNING,
    ENTROPY,
    KNOWLEDGE_AFTER,
    Measure,
    difference_unit,
    show,
)


class Alone(NamedTuple):
    """A checkpoint under a gauge, and the recipes by which it learned as the original does."""

    measured: Measured
    gauge: State
    group: str
    """The first of recipes that differ in learning rate alone."""
    recipes: tuple[str, ...]
    """Those by which the original learned as well."""

    def coefficients(self) -> Mapping[State, float]:
        """Return what is compared: the gauge less the original."""
        return {self.gauge: 1.0, State(self.gauge.step): -1.0}


def alone(measured: Measured) -> Iterator[Alone]:
    """Yield every checkpoint under every gauge that learned so."""
    for variant in measured.variants(*GAUGES):
        for group, recipes in recipe_groups(measured, compensated=True).items():
            for step in measured.steps_of(variant):
                gauge = State(step, variant)
                if shared := shared_recipes(measured, [gauge, State(step)], recipes):
                    yield Alone(measured, gauge, group, shared)


def entropy_alone(measured: Measured) -> Iterator[Finding]:
    """Absolute entropy as such changes learning: of each gauge, at its last checkpoint."""
    last = {(found.gauge.variant, found.group): found for found in alone(measured)}
    for variant in measured.variants(*GAUGES):
        own = [found for (name, _), found in last.items() if name == variant]
        yield from (_finding([found]) for found in own)
        if not own:
            yield _untested(measured, variant)


def entropy_alone_between_runs(models: Sequence[Measured]) -> Iterator[tuple[str, Finding]]:
    """Yield the same of families, the mean over two or more runs of pretraining."""
    found: dict[tuple[str, str, str], dict[str, Alone]] = {}
    for run in models:
        if family := run.settings.families.get(run.model):
            for each in alone(run):
                found.setdefault((family, each.gauge.variant, each.group), {})[run.model] = each
    for (family, *_), runs in found.items():
        if len(runs) > 1:
            yield family, _finding(list(runs.values()))


def _finding(runs: Sequence[Alone]) -> Finding:
    first, settings = runs[0], runs[0].measured.settings

    def told(measure: Measure) -> tuple[Estimate, str]:
        recipes = None if measure in BEFORE_LEARNING else first.recipes
        found = mean_difference(
            [(each.measured, each.coefficients()) for each in runs], measure, recipes
        )
        words = first.measured.spread(found, difference_unit(measure.unit))
        return found, f"{measure.label} by {words}"

    moved, of_entropy = told(ENTROPY)
    knowledge, of_knowledge = told(KNOWLEDGE_AFTER)
    share, of_share = told(ACQUISITION_FROM_ORIGINAL)
    _, of_accuracy = told(ACCURACY_AFTER)
    is_moved = is_other_than_zero(moved, settings).verdict == SUPPORTED
    number = f", the mean over {len(runs)} runs of pretraining" if len(runs) > 1 else ""
    evidence = (
        f"As {first.gauge.variant} at step {first.gauge.step:,}{over_rates(first.recipes)}{number}:"
        f" before learning the gauge changes {of_entropy}"
        f"{'' if is_moved else ', which may be nothing, so that nothing is told of entropy'}; after"
        f" it {of_knowledge}, {of_accuracy} and {of_share}."
    )
    told_of = changes_learning(knowledge, share, settings)
    decision = told_of if is_moved else decide([], settings.confidence)
    return _told(first, evidence, decision, knowledge)


def _untested(measured: Measured, variant: str) -> Finding:
    found = Alone(measured, State(measured.steps_of(variant)[-1], variant), "", ())
    evidence = f"The original and {variant} learned by no common recipe with compensate_gauge."
    return _told(found, evidence, decide([], measured.settings.confidence), UNKNOWN)


def _told(found: Alone, evidence: str, decision: Decision, effect: Estimate) -> Finding:
    margin = show(found.measured.settings.non_inferiority_margin, "points")
    return Finding(
        "entropy_alone_changes_learning",
        f"Absolute entropy as such changes learning ({found.gauge.variant}).",
        BEYOND,
        "The effect is the gauge less the original, both learned with compensate_gauge: the"
        " function and how fast each memory learns are the same, so that absolute H is all that"
        f" differs. Not tested where the gauge does not move H. {CHANGES.format(margin=margin)}"
        f" {PAIRED}",
        evidence,
        decision.verdict,
        decision.p_value,
        2 if found.recipes else 0,
        "nats",
        effect,
        found.group or None,
        found.gauge.variant,
    )
