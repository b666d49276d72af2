"""Claims about entropy over pretraining (FACTS section 1).

Stages at which an entropy is not defined are left out, and said: a layer then has no activity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ke_steps.claims.findings import BEYOND, PAIRED, PAPER, Finding, Part, decide
from ke_steps.claims.measured import Measured
from ke_steps.claims.stages import Claim, change_over, over_stages, too_few
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate
from ke_steps.summary.points import by_corpus, by_layer, by_stage
from ke_steps.summary.quantities import ACTIVITIES, ENTROPY, WHOLE_MODEL, Measure, show

PAPER_ACTIVITIES = ("positive", "relu_gate")
"""Measures of activity beside mean |c| that the paper shows to keep the trend."""


def text_only(measured: Measured) -> str:
    """Return what an interval of one model's entropy covers, in words."""
    words = "The interval covers the sampling of text, not other pretraining runs"
    if kin := measured.kin():
        return f"{words}: those of its family, {', '.join(kin)}, are judged by themselves."
    return f"{words}: there is one of this model."


def entropy_falls(measured: Measured) -> Iterator[Finding]:
    """Knowledge entropy falls over pretraining (FACTS section 1)."""
    statement = "Knowledge entropy falls over pretraining."
    yield _falls(measured, "entropy_falls", statement, PAPER, ENTROPY)


def entropy_falls_by_every_measure(measured: Measured) -> Iterator[Finding]:
    """Entropy falls however activity is measured (FACTS section 1, and beyond the paper)."""
    for activity, words in ACTIVITIES.items():
        entropy = Measure(f"{activity}_entropy_nats", WHOLE_MODEL)
        if len(by_stage(measured.estimates, measured.model, entropy)):
            origin = PAPER if activity in PAPER_ACTIVITIES else BEYOND
            statement = f"The entropy of {words} falls over pretraining as well."
            yield _falls(measured, f"{activity}_entropy_falls", statement, origin, entropy)


def entropy_falls_on_every_corpus(measured: Measured) -> Iterator[Finding]:
    """Knowledge entropy falls on other corpora as well (FACTS section 1)."""
    for corpus, entropy in by_corpus(measured.summary, ENTROPY.quantity).items():
        if corpus:
            statement = f"Knowledge entropy on the corpus {corpus} falls over pretraining as well."
            yield _falls(measured, f"entropy_falls_on_{corpus}", statement, PAPER, entropy)


def _falls(measured: Measured, name: str, statement: str, origin: str, entropy: Measure) -> Finding:
    num_layers = len(by_layer(measured.summary, ENTROPY.quantity))
    smallest = num_layers * measured.settings.smallest_entropy_change_nats
    claim = Claim(name, statement, origin, entropy, -1, smallest, text_only(measured))
    found = over_stages(measured, claim)
    return found._replace(evidence=found.evidence + _left_out(measured, entropy))


def _left_out(measured: Measured, entropy: Measure) -> str:
    """Return the words for the stages at which an entropy is not defined; empty for none."""
    values = by_stage(measured.estimates, measured.model, entropy)
    steps = ", ".join(f"{step:,}" for step in values.index[values.isna()])
    return f" Left out, as it is not defined there: step {steps}." if steps else ""


def _layers(measured: Measured) -> tuple[list[Measure], list[int]]:
    """Return the entropy of each layer, and the stages at which all have one; none if too few."""
    stages = list(measured.by_stage(ENTROPY).index)
    layers = list(by_layer(measured.summary, ENTROPY.quantity).values())
    return (layers, stages) if len(stages) >= measured.settings.min_points else ([], stages)


def every_layer_falls(measured: Measured) -> Iterator[Finding]:
    """The entropy of every layer falls (FACTS section 1)."""
    layers, stages = _layers(measured)
    smallest = measured.settings.smallest_entropy_change_nats
    falls = {layer.group: -change_over(measured, layer, stages, None) for layer in layers}
    weakest, evidence = UNKNOWN, too_few(measured, len(stages))
    if falls:
        layer, weakest = min(falls.items(), key=lambda item: item[1].low)
        num_falling = sum(fall.low > smallest for fall in falls.values())
        evidence = (
            f"{num_falling} of {len(falls)} layers fall by more than {show(smallest, 'nats')}; the"
            f" weakest is {layer}: a change of {measured.spread(-weakest, 'nats')}."
        )
    yield _of_layers(
        measured,
        _Words(
            "every_layer_falls",
            "The entropy of every layer falls over pretraining.",
            "Supported if the fall along the line through the stages has its interval above"
            f" {show(smallest, 'nats')} in every layer; not supported if one layer has it below."
            f" {PAIRED} {text_only(measured)}",
            evidence,
        ),
        {layer: Part(fall, smallest) for layer, fall in falls.items()},
        -weakest,
    )


def last_layer_falls_most(measured: Measured) -> Iterator[Finding]:
    """The last layer's entropy falls most (FACTS section 1)."""
    layers, stages = _layers(measured)
    closest, evidence, leads = UNKNOWN, too_few(measured, len(stages)), {}
    if len(layers) > 1:
        *others, last = layers
        leads = {
            other.group: -change_over(measured, {last: 1.0, other: -1.0}, stages, None)
            for other in others
        }
        rival, closest = min(leads.items(), key=lambda item: item[1].low)
        fall = -change_over(measured, last, stages, None)
        evidence = (
            f"The last layer changes by {measured.spread(-fall, 'nats')}; its closest rival is"
            f" {rival}, over which it falls more by {measured.spread(closest, 'nats')}."
        )
    yield _of_layers(
        measured,
        _Words(
            "last_layer_falls_most",
            "The last layer's entropy falls most.",
            "Supported if the last layer's fall along the line through the stages minus that of"
            " every other layer has its interval above zero; not supported if another layer has it"
            f" below zero. {PAIRED} {text_only(measured)}",
            evidence,
        ),
        {layer: Part(lead) for layer, lead in leads.items()},
        closest,
    )


class _Words(NamedTuple):
    claim: str
    statement: str
    rule: str
    evidence: str


def _of_layers(
    measured: Measured, words: _Words, parts: Mapping[str, Part], told: Estimate
) -> Finding:
    """Return the finding of a claim that says something of several layers at once."""
    decision = decide(list(parts.values()), measured.settings.confidence)
    return Finding(
        words.claim,
        words.statement,
        PAPER,
        words.rule,
        words.evidence + _left_out(measured, ENTROPY),
        decision.verdict,
        decision.p_value,
        len(measured.by_stage(ENTROPY)),
        "nats",
        told,
    )
