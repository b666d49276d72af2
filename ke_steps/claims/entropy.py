"""Claims about entropy over pretraining (FACTS section 1).

Stages at which an entropy is not defined are left out, and said: a layer then has no activity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from scipy import stats

from ke_steps.claims.estimates import UNKNOWN, Estimate
from ke_steps.claims.findings import INCONCLUSIVE, SUPPORTED, UNPAIRED, Finding, Measured, verdict
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import by_corpus, by_layer, by_stage
from ke_steps.summary.quantities import ACTIVITIES, ENTROPY, WHOLE_MODEL, Measure, show

PAPER_ACTIVITIES = ("positive", "relu_gate")
"""Measures of activity beside mean |c| that the paper shows to keep the trend."""


def entropy_falls(measured: Measured) -> Iterator[Finding]:
    """Knowledge entropy falls over pretraining (FACTS section 1)."""
    statement = "Knowledge entropy falls over pretraining."
    yield _falls(measured, ENTROPY, "entropy_falls", statement)


def entropy_falls_by_every_measure(measured: Measured) -> Iterator[Finding]:
    """Entropy falls however activity is measured (FACTS section 1, and beyond the paper)."""
    for activity, words in ACTIVITIES.items():
        entropy = Measure(f"{activity}_entropy_nats", WHOLE_MODEL)
        if len(by_stage(measured.summary, measured.model, entropy)):
            beyond = "" if activity in PAPER_ACTIVITIES else " (asked beyond the paper)"
            statement = f"The entropy of {words} falls over pretraining as well{beyond}."
            yield _falls(measured, entropy, f"{activity}_entropy_falls", statement)


def entropy_falls_on_every_corpus(measured: Measured) -> Iterator[Finding]:
    """Knowledge entropy falls on other corpora as well (FACTS section 1)."""
    for corpus, entropy in by_corpus(measured.summary, ENTROPY.quantity).items():
        if corpus:
            statement = f"Knowledge entropy on the corpus {corpus} falls over pretraining as well."
            yield _falls(measured, entropy, f"entropy_falls_on_{corpus}", statement)


def _falls(measured: Measured, entropy: Measure, claim: str, statement: str) -> Finding:
    values = measured.by_stage(entropy)
    stages = list(values.index)
    estimate, decided, evidence = UNKNOWN, INCONCLUSIVE, measured.too_few(len(stages))
    if len(stages) >= measured.settings.min_points:
        estimate = _fall(measured, entropy, stages)
        is_constant = values.min() == values.max()
        trend = 0.0 if is_constant else float(stats.spearmanr(values.index, values).statistic)
        decided = verdict([estimate])
        if decided == SUPPORTED and trend >= 0:
            decided = INCONCLUSIVE
        evidence = (
            f"H is {values.iloc[0]:.3f} nats at step {stages[0]:,} and"
            f" {values.iloc[-1]:.3f} nats at step {stages[-1]:,}:"
            f" a fall of {measured.spread(estimate, 'nats')};"
            f" Spearman(H, step) = {show(trend, '')} over {len(stages)} stages."
        )
    rule = (
        "Supported if H(first stage) − H(last stage) has its interval above zero and the rank"
        f" correlation of H with the step is negative; not supported if below zero. {UNPAIRED}"
    )
    evidence += _left_out(measured, entropy)
    return Finding(claim, statement, rule, evidence, decided, len(stages), "nats", estimate)


def _left_out(measured: Measured, entropy: Measure) -> str:
    """Return the words for the stages at which an entropy is not defined; empty for none."""
    values = by_stage(measured.summary, measured.model, entropy)
    steps = ", ".join(f"{step:,}" for step in values.index[values.isna()])
    return f" Left out, as it is not defined there: step {steps}." if steps else ""


def _fall(measured: Measured, entropy: Measure, stages: list[int]) -> Estimate:
    """Return H(first stage) - H(last stage) of the model or a layer."""
    return measured.difference(entropy, (stages[0], ORIGINAL), (stages[-1], ORIGINAL))


def _layer_falls(measured: Measured) -> dict[str, Estimate]:
    """Return the fall of every layer, between stages at which all have an entropy; or nothing."""
    stages = list(measured.by_stage(ENTROPY).index)
    if len(stages) < measured.settings.min_points:
        return {}
    return {
        entropy.group: _fall(measured, entropy, stages)
        for entropy in by_layer(measured.summary, ENTROPY.quantity).values()
    }


def every_layer_falls(measured: Measured) -> Iterator[Finding]:
    """The entropy of every layer falls (FACTS section 1)."""
    num_stages = len(measured.by_stage(ENTROPY))
    weakest, decided, evidence = UNKNOWN, INCONCLUSIVE, measured.too_few(num_stages)
    if falls := _layer_falls(measured):
        layer, weakest = min(falls.items(), key=lambda item: item[1].low)
        decided = verdict(list(falls.values()))
        num_falling = sum(fall.low > 0 for fall in falls.values())
        evidence = (
            f"{num_falling} of {len(falls)} layers fall with their interval above zero; the weakest"
            f" is {layer}: {measured.spread(weakest, 'nats')}."
        )
    yield Finding(
        "every_layer_falls",
        "The entropy of every layer falls over pretraining.",
        "Supported if H(first stage) − H(last stage) has its interval above zero in every layer;"
        f" not supported if one layer has it below zero. {UNPAIRED}",
        evidence + _left_out(measured, ENTROPY),
        decided,
        num_stages,
        "nats",
        weakest,
    )


def last_layer_falls_most(measured: Measured) -> Iterator[Finding]:
    """The last layer's entropy falls most (FACTS section 1)."""
    num_stages = len(measured.by_stage(ENTROPY))
    closest, decided, evidence = UNKNOWN, INCONCLUSIVE, measured.too_few(num_stages)
    falls = _layer_falls(measured)
    if len(falls) > 1:
        *others, last = falls
        leads = {layer: _independent_difference(falls[last], falls[layer]) for layer in others}
        rival, closest = min(leads.items(), key=lambda item: item[1].low)
        decided = verdict(list(leads.values()))
        evidence = (
            f"The last layer falls by {measured.spread(falls[last], 'nats')}; its closest"
            f" rival, {rival}, by {show(falls[rival].value, 'nats')}: a lead of"
            f" {measured.spread(closest, 'nats')}."
        )
    yield Finding(
        "last_layer_falls_most",
        "The last layer's entropy falls most.",
        "Supported if the last layer's fall minus that of every other layer has its interval above"
        f" zero; not supported if another layer has it below zero. {UNPAIRED}",
        evidence + _left_out(measured, ENTROPY),
        decided,
        num_stages,
        "nats",
        closest,
    )


def _independent_difference(left: Estimate, right: Estimate) -> Estimate:
    value = left.value - right.value
    half_width = math.hypot(left.high - left.low, right.high - right.low) / 2
    return Estimate(value, value - half_width, value + half_width)
