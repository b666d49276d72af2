"""Claims about learning over the stages of pretraining (FACTS section 4).

Within one run everything shares a clock, so that any two courses correlate: what goes with what is
shown, and never decided. What is decided is where learning *ends*: A moves with its denominator, K
before learning, and F with the accuracy that chance alone would give.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from ke_steps.claims.findings import (
    DESCRIPTIVE,
    NOT_TESTED,
    PAPER,
    Finding,
    Part,
    decide,
)
from ke_steps.claims.measured import Measured, State
from ke_steps.claims.stages import Claim, over_stages, too_few
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION,
    ENTROPY,
    FORGETTING,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    Measure,
    difference_unit,
    show,
)

OF_ONCE = ACQUISITION.of("once/all")
SHARED_CLOCK = (
    "Shown, never decided: over the stages of one run any two courses correlate, as they share its"
    " clock. A verdict needs several pretraining runs."
)
KNOWLEDGE_FALLS = Claim(
    "knowledge_after_falls",
    "Later checkpoints end with less new knowledge: K after learning falls over pretraining.",
    PAPER,
    KNOWLEDGE_AFTER,
    -1,
    remark="Judged on K after, as A moves with its denominator, K before.",
)
ACCURACY_FALLS = Claim(
    "accuracy_after_falls",
    "Later checkpoints end with less old knowledge: P after learning falls over pretraining.",
    PAPER,
    ACCURACY_AFTER,
    -1,
)
FORGETTING_RISES = Claim(
    "forgetting_rises",
    "Later checkpoints forget more: F above chance rises over pretraining.",
    PAPER,
    FORGETTING_ABOVE_CHANCE,
    1,
    remark=(
        "F above chance is (P before − P after) / (P before − chance); F itself takes for knowledge"
        " what guessing gives."
    ),
)


def later_stages_learn_less(measured: Measured) -> Iterator[Finding]:
    """Later checkpoints acquire less and forget more (FACTS section 4), judged where they end."""
    for claim in (KNOWLEDGE_FALLS, ACCURACY_FALLS, FORGETTING_RISES):
        for recipe in measured.recipes():
            if recipe_is_measured(measured, claim.measure, recipe):
                yield over_stages(measured, claim, recipe)


def recipe_is_measured(measured: Measured, measure: Measure, recipe: str) -> bool:
    """Tell whether a measure has rows under a recipe."""
    return len(measured.rows(measure, recipe)) > 0


def goes_with_entropy(measured: Measured) -> Iterator[Finding]:
    """Acquisition falls, forgetting rises with entropy (FACTS section 4): shown, not decided."""
    yield from _correlates(
        measured,
        ACQUISITION,
        "acquisition_falls_with_entropy",
        "Models with lower entropy acquire less new knowledge: r(H, A) > 0.",
    )
    yield from _correlates(
        measured,
        FORGETTING,
        "forgetting_rises_as_entropy_falls",
        "Models with lower entropy forget more: r(H, F) < 0.",
    )


def _correlates(
    measured: Measured, outcome: Measure, claim: str, statement: str
) -> Iterator[Finding]:
    rows = measured.correlations
    is_asked = (rows["y"] == outcome.quantity) & (rows["x"] == ENTROPY.quantity)
    for row in rows[is_asked & (rows["method"] == "pearson")].to_dict("records"):
        estimate, verdict = UNKNOWN, NOT_TESTED
        evidence = too_few(measured, row["num_points"])
        if not math.isnan(row["value"]):
            estimate = Estimate(row["value"], row["low"], row["high"])
            verdict = DESCRIPTIVE
            stages = pd.DataFrame(
                {
                    "entropy": measured.by_stage(ENTROPY),
                    "outcome": measured.by_stage(outcome, row["recipe"]),
                }
            ).dropna()
            points = [
                f"({entropy:.2f} nats, {show(value, outcome.unit)})"
                for entropy, value in stages.itertuples(index=False, name=None)
            ]
            evidence = (
                f"Over {row['num_points']} stages r(H, {outcome.label}) = {show(row['value'], '')}:"
                f" {', '.join(points)}."
            )
        yield Finding(
            claim,
            statement,
            PAPER,
            SHARED_CLOCK,
            evidence,
            verdict,
            math.nan,
            row["num_points"],
            "",
            estimate,
            row["recipe"],
        )


def mid_stage_ends_best(measured: Measured) -> Iterator[Finding]:
    """End performance is best for a mid-stage checkpoint (FACTS section 4)."""
    for end in (KNOWLEDGE_AFTER, ACCURACY_AFTER):
        for recipe in measured.recipes():
            if recipe_is_measured(measured, end, recipe):
                yield _mid_stage(measured, end, recipe)


def _mid_stage(measured: Measured, end: Measure, recipe: str) -> Finding:
    unit, label = end.unit, end.label
    means = measured.by_stage(end, recipe)
    first, *middle, last = means.index if len(means) > 1 else (0, 0)
    closest, decision = UNKNOWN, decide([], measured.settings.confidence)
    evidence = too_few(measured, len(means))
    if len(means) >= measured.settings.min_points:
        best = max(middle, key=lambda step: means[step])
        leads = [
            measured.difference(end, State(best), State(step), recipe) for step in (first, last)
        ]
        closest = min(leads, key=lambda lead: lead.low)
        decision = decide(
            [Part(lead) for lead in leads], measured.settings.confidence, num_tries=len(middle)
        )
        evidence = (
            f"{label} is {show(means[best], unit)} from step {best:,}, the best of"
            f" {len(middle)} stages between the first ({show(means[first], unit)}) and the last"
            f" ({show(means[last], unit)}); its smaller lead is"
            f" {measured.spread(closest, difference_unit(unit))}."
        )
    return Finding(
        f"{end.quantity}_best_at_mid_stage",
        f"End performance ({label}) is best for a mid-stage checkpoint.",
        PAPER,
        "Supported if the best stage that is neither first nor last leads both of them with its"
        " interval above zero, and p times the number of stages it was chosen among is below"
        f" {1 - measured.settings.confidence:.2g}; not supported if it trails one likewise.",
        evidence,
        decision.verdict,
        decision.p_value,
        len(means),
        difference_unit(unit),
        closest,
        recipe,
        chosen_after_looking=decision.verdict != NOT_TESTED,
    )


def once_knowledge_is_lost(measured: Measured) -> Iterator[Finding]:
    """Knowledge seen once has negative acquisition at the last stage (FACTS section 4)."""
    for recipe in measured.recipes():
        estimate, evidence = UNKNOWN, "No knowledge seen once was measured at a pretraining stage."
        stages = measured.stages(recipe)
        if stages:
            estimate = measured.estimate(OF_ONCE, State(stages[-1]), recipe)
        if not math.isnan(estimate.value):
            evidence = (
                f"A of knowledge seen once is {measured.spread(estimate, 'fraction')}"
                f" at step {stages[-1]:,}."
            )
        decision = decide([Part(-estimate)], measured.settings.confidence)
        yield Finding(
            "once_knowledge_is_lost",
            "Knowledge seen once is worse known after learning at the last stage: A(once) < 0.",
            PAPER,
            "Supported if A of the once condition, mean over seeds, has its interval below zero at"
            " the last stage; not supported if above.",
            evidence,
            decision.verdict,
            decision.p_value,
            min(len(stages), 1),
            "fraction",
            estimate,
            recipe,
        )
