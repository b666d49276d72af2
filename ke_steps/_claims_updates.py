"""Claims about where learning writes: argued in the paper, measured here (FACTS section 4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from ke_steps._correlations import correlate
from ke_steps._estimates import UNKNOWN, Estimate
from ke_steps._findings import INCONCLUSIVE, MODEL, Finding, Measured, verdict
from ke_steps._quantities import show

CORRELATION = "memory_update_correlation_spearman"
CONCENTRATION = "memory_update_entropy_nats"


def active_memories_change_most(measured: Measured) -> Iterator[Finding]:
    """Learning overwrites the active memories most."""
    for recipe in _recipes(measured, CORRELATION):
        values = measured.by_stage(CORRELATION, MODEL, recipe)
        estimate, decided, evidence = UNKNOWN, INCONCLUSIVE, measured.too_few(recipe)
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
        values = measured.by_stage(CONCENTRATION, MODEL, recipe)
        steps = values.index.to_numpy(float)
        found = correlate(steps, values.to_numpy(float), "pearson", measured.settings)
        estimate, decided, evidence = UNKNOWN, INCONCLUSIVE, measured.too_few(recipe)
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


def _recipes(measured: Measured, quantity: str) -> list[str]:
    return [r for r in measured.recipes() if len(measured.by_stage(quantity, MODEL, r))]
