"""Claims about learning over the stages of pretraining (FACTS section 4).

What it comes to is measured by the paper; where it writes is argued there, and measured here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import stats

from ke_steps.claims.estimates import UNKNOWN, Estimate
from ke_steps.claims.findings import INCONCLUSIVE, WITH_SEEDS, Finding, Measured, verdict
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.correlations import correlate
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION,
    ENTROPY,
    FORGETTING,
    KNOWLEDGE_AFTER,
    WHOLE_MODEL,
    Measure,
    difference_unit,
    show,
)

OF_ONCE = ACQUISITION.of("once/all")
CORRELATION = Measure("memory_update_correlation_spearman", WHOLE_MODEL)
CONCENTRATION = Measure("memory_update_entropy_nats", WHOLE_MODEL)


def _goes_with_entropy(
    measured: Measured, outcome: Measure, sign: int, claim: str, statement: str
) -> Iterator[Finding]:
    direction = "above" if sign > 0 else "below"
    rule = (
        f"Supported if Pearson's r over the stages has its bootstrap interval {direction} zero and"
        f" p < {1 - measured.settings.confidence:.2g} (the bootstrap alone is too sure of few"
        " points); not supported if the same holds on the other side of zero."
    )
    rows = measured.correlations
    is_asked = (rows["y"] == outcome.quantity) & (rows["x"] == ENTROPY.quantity)
    rows = rows[is_asked & (rows["method"] == "pearson")]
    for row in rows.to_dict("records"):
        estimate, decided, evidence = UNKNOWN, INCONCLUSIVE, measured.too_few(row["num_points"])
        if not math.isnan(row["value"]):
            estimate = Estimate(row["value"], row["low"], row["high"])
            if row["p_value"] < 1 - measured.settings.confidence:
                decided = verdict([estimate if sign > 0 else -estimate])
            evidence = (
                f"r(H, {outcome.label}) = {measured.spread(estimate, '')},"
                f" p = {row['p_value']:.2g}, {row['num_points']} stages."
            )
        yield Finding(
            claim,
            statement,
            rule,
            evidence,
            decided,
            row["num_points"],
            "",
            estimate,
            row["recipe"],
        )


def acquisition_falls(measured: Measured) -> Iterator[Finding]:
    """Acquisition falls with entropy: r(H, A) > 0 (FACTS section 4)."""
    statement = "Models with lower entropy acquire less new knowledge: r(H, A) > 0."
    yield from _goes_with_entropy(
        measured, ACQUISITION, 1, "acquisition_falls_with_entropy", statement
    )


def forgetting_rises(measured: Measured) -> Iterator[Finding]:
    """Forgetting rises as entropy falls: r(H, F) < 0 (FACTS section 4)."""
    statement = "Models with lower entropy forget more: r(H, F) < 0."
    yield from _goes_with_entropy(
        measured, FORGETTING, -1, "forgetting_rises_as_entropy_falls", statement
    )


def mid_stage_ends_best(measured: Measured) -> Iterator[Finding]:
    """End performance is best for a mid-stage checkpoint (FACTS section 4)."""
    for end in (KNOWLEDGE_AFTER, ACCURACY_AFTER):
        unit, label = end.unit, end.label
        for recipe in measured.recipes():
            stages = measured.stages(recipe)
            closest, decided, evidence = UNKNOWN, INCONCLUSIVE, measured.too_few(len(stages))
            if measured.has_trend(recipe):
                means = {s: measured.mean(end, s, recipe).value for s in stages}
                best = max(stages[1:-1], key=lambda step: means[step])
                leads = [
                    measured.difference(end, (best, ORIGINAL), (step, ORIGINAL), recipe)
                    for step in (stages[0], stages[-1])
                ]
                closest = min(leads, key=lambda lead: lead.low)
                decided = verdict(leads)
                evidence = (
                    f"{label} is {show(means[best], unit)} from step {best:,}, the best stage"
                    f" between the first ({show(means[stages[0]], unit)}) and the last"
                    f" ({show(means[stages[-1]], unit)}); its smaller lead is"
                    f" {measured.spread(closest, difference_unit(unit))}."
                )
            yield Finding(
                f"{end.quantity}_best_at_mid_stage",
                f"End performance ({label}) is best for a mid-stage checkpoint.",
                "Supported if the best stage that is neither first nor last leads both of them with"
                " its interval above zero; not supported if it trails one of them with its interval"
                f" below zero. The stage is chosen after looking. {WITH_SEEDS}",
                evidence,
                decided,
                len(stages),
                unit,
                closest,
                recipe,
            )


def once_knowledge_is_lost(measured: Measured) -> Iterator[Finding]:
    """Knowledge seen once has negative acquisition at the last stage (FACTS section 4)."""
    for recipe in measured.recipes():
        estimate, evidence = UNKNOWN, "No knowledge seen once was measured at a pretraining stage."
        stages = measured.stages(recipe)
        if stages:
            estimate = measured.mean(OF_ONCE, stages[-1], recipe)
        if not math.isnan(estimate.value):
            evidence = (
                f"A of knowledge seen once is {measured.spread(estimate, 'fraction')}"
                f" at step {stages[-1]:,}."
            )
        yield Finding(
            "once_knowledge_is_lost",
            "Knowledge seen once is worse known after learning at the last stage: A(once) < 0.",
            "Supported if A of the once condition, mean over seeds, has its interval below zero at"
            f" the last stage; not supported if above. {WITH_SEEDS}",
            evidence,
            verdict([-estimate]),
            min(len(stages), 1),
            "fraction",
            estimate,
            recipe,
        )


def active_memories_change_most(measured: Measured) -> Iterator[Finding]:
    """Learning overwrites the active memories most."""
    for recipe in _recipes(measured, CORRELATION):
        values = measured.by_stage(CORRELATION, recipe)
        estimate, decided, evidence = UNKNOWN, INCONCLUSIVE, measured.too_few(len(values))
        if len(values) >= measured.settings.min_points:
            result = stats.ttest_1samp(values, 0)
            low, high = result.confidence_interval(measured.settings.confidence)
            estimate = Estimate(float(values.mean()), float(low), float(high))
            decided = verdict([estimate])
            evidence = (
                f"The rank correlation of ‖Δv‖ with mean |c|, mean over layers, is"
                f" {show(values.iloc[0], '')} at step {values.index[0]:,} and"
                f" {show(values.iloc[-1], '')} at step {values.index[-1]:,};"
                f" over {len(values)} stages {measured.spread(estimate, '')}."
            )
        yield Finding(
            "active_memories_change_most",
            "Learning overwrites the active memories most: r(mean |c|, ‖Δv‖) > 0.",
            "Supported if Spearman's correlation of the change of a memory vector with its mean"
            " |c| before learning, mean over layers and seeds, has its interval over the stages"
            " (Student's t) above zero; not supported if below.",
            evidence,
            decided,
            len(values),
            "",
            estimate,
            recipe,
        )


def late_stages_concentrate_updates(measured: Measured) -> Iterator[Finding]:
    """The later the stage, the fewer memories learning writes to."""
    for recipe in _recipes(measured, CONCENTRATION):
        values = measured.by_stage(CONCENTRATION, recipe)
        steps = values.index.to_numpy(float)
        found = correlate(steps, values.to_numpy(float), "pearson", measured.settings)
        estimate, decided, evidence = UNKNOWN, INCONCLUSIVE, measured.too_few(len(values))
        if not np.isnan(found["value"]):
            estimate = Estimate(found["value"], found["low"], found["high"])
            if found["p_value"] < 1 - measured.settings.confidence:
                decided = verdict([-estimate])
            evidence = (
                f"The entropy of the distribution of ‖Δv‖ is {show(values.iloc[0], 'nats')} at"
                f" step {values.index[0]:,} and {show(values.iloc[-1], 'nats')} at step"
                f" {values.index[-1]:,}; r = {measured.spread(estimate, '')},"
                f" p = {found['p_value']:.2g}, {len(values)} stages."
            )
        yield Finding(
            "late_stages_concentrate_updates",
            "The later the stage, the fewer memories learning writes to: the entropy of the"
            " distribution of ‖Δv‖ falls with the step.",
            "Supported if Pearson's r of that entropy, mean over seeds, with the pretraining step"
            " has its bootstrap interval below zero and"
            f" p < {1 - measured.settings.confidence:.2g}; not supported if the same holds on the"
            " other side of zero.",
            evidence,
            decided,
            len(values),
            "",
            estimate,
            recipe,
        )


def _recipes(measured: Measured, measure: Measure) -> list[str]:
    return [r for r in measured.recipes() if len(measured.by_stage(measure, r))]
