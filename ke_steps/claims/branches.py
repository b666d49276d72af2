"""Claims about branches: what training on by itself costs, and what learning costs from there.

A branch that re-warms a checkpoint on old text meets the learning rate that learning has, and
nothing new. What P loses there is not the new knowledge's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ke_steps.artefacts.places import Identity
from ke_steps.claims.findings import BEYOND, PAIRED, Finding, Part, decide
from ke_steps.claims.measured import Measured, State
from ke_steps.formulas.uncertainty import (
    NO_SEEDS,
    Sampled,
    combination,
    contrast,
    spread_within_states,
)
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import ACCURACY_AFTER, ACCURACY_BEFORE, show


def branch_costs_old_knowledge(measured: Measured) -> Iterator[Finding]:
    """A branch lowers P before anything new is learned, and learning lowers it further."""
    trunk, stages = measured.settings.branches.get(measured.model), measured.stages()
    if trunk is None or not stages:
        return
    last = stages[-1]
    before, start = (
        measured.replicates.of(ACCURACY_BEFORE, Identity(model, last, ORIGINAL, None, None))
        for model in (measured.model, trunk)
    )
    if before is None or start is None:
        return
    confidence = measured.settings.confidence
    cost = contrast([1.0, -1.0], [[start], [before]], NO_SEEDS, confidence)
    decision = decide([Part(cost)], confidence)
    yield Finding(
        "branch_costs_old_knowledge",
        f"Training on costs old knowledge before anything new is learned ({trunk}).",
        BEYOND,
        f"Supported if P before learning of the branch lies below that of {trunk}, from where it"
        f" branches off, with the interval of the difference, at the last stage; not supported if"
        f" above. {PAIRED}",
        f"P before learning at step {last:,} is {show(start.value, 'fraction')} of {trunk} and"
        f" {show(before.value, 'fraction')} of the branch: a loss of"
        f" {measured.spread(cost, 'points')}.",
        decision.verdict,
        decision.p_value,
        1,
        "points",
        cost,
    )
    for recipe in measured.recipes():
        yield from _further(measured, State(last), recipe, (start, before))


def _further(
    measured: Measured, state: State, recipe: str, known: tuple[Sampled, Sampled]
) -> Iterator[Finding]:
    """Yield what learning costs beside the branch, where the recipe was run on its last stage."""
    seeds = measured.common_seeds(measured.values(ACCURACY_AFTER, recipe), [state])
    runs = [Identity(measured.model, *state, recipe, seed) for seed in seeds]
    after = [each for run in runs if (each := measured.replicates.of(ACCURACY_AFTER, run))]
    if not after:
        return
    start, before = known
    losses = [combination([1.0, -1.0], [[before], [each]]) for each in after]
    spread = spread_within_states(pd.DataFrame([[each.value for each in losses]]))
    confidence = measured.settings.confidence
    cost = contrast([1.0], [losses], spread, confidence)
    decision = decide([Part(cost)], confidence)
    end = float(np.mean([each.value for each in after]))
    by_branch = show(start.value - before.value, "points")
    yield Finding(
        "learning_costs_old_knowledge_beyond_the_branch",
        "Learning costs old knowledge beyond what the branch has cost already.",
        BEYOND,
        "Supported if P after learning lies below P before learning, both of the branch, with the"
        f" interval of the difference, at the last stage; not supported if above. {PAIRED}",
        f"P falls from {show(start.value, 'fraction')} to {show(end, 'fraction')} at step"
        f" {state.step:,}: {by_branch} by the branch, and {measured.spread(cost, 'points')} by"
        " learning from there.",
        decision.verdict,
        decision.p_value,
        1,
        "points",
        cost,
        recipe,
    )
