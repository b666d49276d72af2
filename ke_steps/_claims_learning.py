"""Claims about learning and forgetting over the stages of pretraining (FACTS section 4)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ke_steps._estimates import UNKNOWN, Estimate
from ke_steps._findings import (
    ALL_PROBES,
    ALL_TASKS,
    INCONCLUSIVE,
    WITH_SEEDS,
    Finding,
    Measured,
    verdict,
)
from ke_steps._quantities import QUANTITIES, difference_unit, show, unit_of
from ke_steps.settings import ORIGINAL


def _goes_with_entropy(
    measured: Measured, outcome: str, sign: int, claim: str, statement: str
) -> Iterator[Finding]:
    direction = "above" if sign > 0 else "below"
    rule = (
        f"Supported if Pearson's r over the stages has its bootstrap interval {direction} zero and"
        f" p < {1 - measured.settings.confidence:.2g} (the bootstrap alone is too sure of few"
        " points); not supported if the same holds on the other side of zero."
    )
    rows = measured.correlations
    is_asked = (rows["y"] == outcome) & (rows["x"] == "entropy_nats")
    rows = rows[is_asked & (rows["method"] == "pearson")]
    for row in rows.to_dict("records"):
        estimate, decided, evidence = UNKNOWN, INCONCLUSIVE, measured.too_few(row["recipe"])
        if not math.isnan(row["value"]):
            estimate = Estimate(row["value"], row["low"], row["high"])
            if row["p_value"] < 1 - measured.settings.confidence:
                decided = verdict([estimate if sign > 0 else -estimate])
            evidence = (
                f"r(H, {QUANTITIES[outcome].label}) = {measured.spread(estimate, '')},"
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
        measured, "acquisition", 1, "acquisition_falls_with_entropy", statement
    )


def forgetting_rises(measured: Measured) -> Iterator[Finding]:
    """Forgetting rises as entropy falls: r(H, F) < 0 (FACTS section 4)."""
    statement = "Models with lower entropy forget more: r(H, F) < 0."
    yield from _goes_with_entropy(
        measured, "forgetting", -1, "forgetting_rises_as_entropy_falls", statement
    )


def mid_stage_ends_best(measured: Measured) -> Iterator[Finding]:
    """End performance is best for a mid-stage checkpoint (FACTS section 4)."""
    for quantity, group in (("performance_after", ALL_PROBES), ("accuracy_after", ALL_TASKS)):
        unit, label = unit_of(quantity), QUANTITIES[quantity].label
        for recipe in measured.recipes():
            stages = measured.stages(recipe)
            closest, decided, evidence = UNKNOWN, INCONCLUSIVE, measured.too_few(recipe)
            if measured.has_trend(recipe):
                means = {s: measured.mean(quantity, group, s, recipe).value for s in stages}
                best = max(stages[1:-1], key=lambda step: means[step])
                leads = [
                    measured.difference(quantity, group, (best, ORIGINAL), (end, ORIGINAL), recipe)
                    for end in (stages[0], stages[-1])
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
                f"{quantity}_best_at_mid_stage",
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
            estimate = measured.mean("acquisition", "once/all", stages[-1], recipe)
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
