"""Claims about where learning writes: argued in the paper (section 5), and measured here."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ke_steps.claims.findings import (
    BEYOND,
    INCONCLUSIVE,
    NOT_SUPPORTED,
    NOT_TESTED,
    SUPPORTED,
    Decision,
    Finding,
)
from ke_steps.claims.learning import recipe_is_measured
from ke_steps.claims.measured import Measured, State
from ke_steps.claims.stages import Claim, over_stages
from ke_steps.formulas.uncertainty import UNKNOWN
from ke_steps.summary.points import by_layer
from ke_steps.summary.quantities import WHOLE_MODEL, Measure, show, show_p

CORRELATION = Measure("memory_update_correlation_spearman", WHOLE_MODEL)
P_VALUE = Measure("memory_update_correlation_p_value", WHOLE_MODEL)
CONCENTRATES = Claim(
    "late_stages_concentrate_updates",
    "The later the stage, the fewer memories learning writes to: the entropy of the distribution of"
    " ‖Δv‖ falls over pretraining.",
    BEYOND,
    Measure("memory_update_entropy_nats", WHOLE_MODEL),
    -1,
    remark="The error is that between seeds; with one seed it is not known.",
)


def late_stages_concentrate_updates(measured: Measured) -> Iterator[Finding]:
    """The later the stage, the fewer memories learning writes to."""
    for recipe in measured.recipes():
        if recipe_is_measured(measured, CONCENTRATES.measure, recipe):
            yield over_stages(measured, CONCENTRATES, recipe)


def active_memories_change_most(measured: Measured) -> Iterator[Finding]:
    """Learning overwrites the active memories most, in every layer."""
    for recipe in measured.recipes():
        stages = measured.by_stage(CORRELATION, recipe)
        if len(stages):
            yield _by_layer(measured, recipe, int(stages.index[-1]))


def _by_layer(measured: Measured, recipe: str, step: int) -> Finding:
    found = {
        layer: (
            measured.estimate(measure, State(step), recipe).value,
            _largest_p_value(measured, P_VALUE.of(measure.group), step, recipe),
        )
        for layer, measure in by_layer(measured.summary, CORRELATION.quantity).items()
    }
    decision = _decide(list(found.values()), 1 - measured.settings.confidence)
    estimate, evidence = UNKNOWN, "No layer has a correlation."
    if found:
        estimate = measured.estimate(CORRELATION, State(step), recipe)
        layers = ", ".join(
            f"{show(value, '')} ({show_p(p)}) in layer {layer}"
            for layer, (value, p) in found.items()
        )
        evidence = (
            f"The rank correlation of ‖Δv‖ with mean |c| at step {step:,} is {layers};"
            f" mean over layers {show(estimate.value, '')}, {_size(estimate.value)}."
        )
    return Finding(
        "active_memories_change_most",
        "Learning overwrites the active memories most: r(mean |c|, ‖Δv‖) > 0 in every layer.",
        BEYOND,
        "Supported if Spearman's correlation of the change of a memory vector with its mean |c|"
        " before learning is positive in every layer at the last stage, by a permutation test in"
        " each layer (the largest p over seeds counts); not supported if it is negative in a layer,"
        " p times the number of layers. The size says more than the verdict: many memories"
        " make a tiny correlation certain.",
        evidence,
        decision.verdict,
        decision.p_value,
        len(found),
        "",
        estimate,
        recipe,
    )


def _largest_p_value(measured: Measured, measure: Measure, step: int, recipe: str) -> float:
    rows = measured.summary
    is_asked = (rows["quantity"] == measure.quantity) & (rows["group"] == measure.group)
    here = (rows["step"] == step) & (rows["variant"] == State(step).variant)
    return float(rows.loc[is_asked & here & (rows["recipe"] == recipe), "value"].max(skipna=False))


def _decide(layers: list[tuple[float, float]], level: float) -> Decision:
    if not layers or any(math.isnan(number) for pair in layers for number in pair):
        return Decision(NOT_TESTED, math.nan)
    against = [p for value, p in layers if value < 0]
    if against:
        p_value = min(1.0, len(layers) * min(against))
        return Decision(NOT_SUPPORTED if p_value < level else INCONCLUSIVE, p_value)
    p_value = max(p for _, p in layers)
    return Decision(SUPPORTED if p_value < level else INCONCLUSIVE, p_value)


def _size(correlation: float) -> str:
    """Say how large a correlation is, in Cohen's words (1988)."""
    for bound, words in ((0.1, "negligible"), (0.3, "small"), (0.5, "medium")):
        if abs(correlation) < bound:
            return words
    return "large"
