"""How a measure changes within runs of pretraining, and what several of them come to.

The unit is a run. The interval of a mean over runs holds their spread and the error of sampling,
which they have in common (``formulas.uncertainty.contrast``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ke_steps.claims.measured import Measured, State
from ke_steps.claims.phases import Phases
from ke_steps.formulas.uncertainty import (
    UNKNOWN,
    Estimate,
    Sampled,
    contrast,
    spread_within_states,
)
from ke_steps.summary.quantities import CONTRIBUTION_ENTROPY, ENTROPY, Measure

ENTROPIES = (ENTROPY, CONTRIBUTION_ENTROPY)
"""A fall that is more than a change of scale is one of both."""


class Claim(NamedTuple):
    """A change within each run that a prediction speaks of."""

    statement: str
    measures: tuple[Measure, ...]
    sign: int
    """1 for a rise, -1 for a fall."""
    is_after: bool = True
    """From saturation to the last checkpoint; else from the plateau to saturation."""


class Changes(NamedTuple):
    """The change of one measure within each run."""

    measure: Measure
    runs: Sequence[Measured]
    found: dict[str, Sampled]
    """By model."""
    lost: dict[str, str]
    """Why other models have none."""

    @classmethod
    def of(
        cls,
        runs: Sequence[Measured],
        phases: Mapping[str, Phases | None],
        claim: Claim,
        measure: Measure,
    ) -> Changes:
        """Return the changes of runs, whose phases are told by model."""
        every = {run.model: change_within(run, phases[run.model], claim, measure) for run in runs}
        found = {name: each for name, each in every.items() if isinstance(each, Sampled)}
        lost = {name: each for name, each in every.items() if isinstance(each, str)}
        return cls(measure, runs, found, lost)


def family_of(run: Measured) -> str | None:
    """Return the family that a run is of."""
    return run.settings.families.get(run.model)


def change_within(
    run: Measured, phases: Phases | None, claim: Claim, measure: Measure
) -> Sampled | str:
    """Return the change within one run, or why there is none."""
    if phases is None:
        return f"its recall is known at fewer than {run.settings.min_points} trained checkpoints"
    ends = phases.after if claim.is_after else phases.before
    if ends is None:
        return phases.unsaturated or "it is saturated from its first checkpoint on"
    recipe = recipe_of(run, claim)
    begin, end = ends
    change = run.sampled({State(end): 1.0, State(begin): -1.0}, measure, recipe)
    if change is None:
        known = run.by_stage(measure, recipe).index
        steps = " and ".join(f"{step:,}" for step in ends if step not in known)
        return f"its {measure.label} is not known at step {steps}"
    return change


def recipe_of(run: Measured, claim: Claim) -> str | None:
    """Return the recipe that a claim is judged with: the first one, or none before learning."""
    return None if claim.measures == ENTROPIES else next(iter(run.recipes()), None)


def mean_over_runs(strata: Sequence[Sequence[Sampled]], confidence: float) -> Estimate:
    """Return the mean over all runs with its interval; their spread is that within strata.

    No interval where no stratum has two runs: nothing tells how far others would lie from it.
    """
    # Runs on other texts share no units, and the same weights resample them independently.
    every = [change._replace(units="") for stratum in strata for change in stratum]
    if not every:
        return UNKNOWN
    spread = spread_within_states(
        pd.DataFrame([[change.value for change in stratum] for stratum in strata])
    )
    if not spread.freedom:
        return UNKNOWN._replace(value=float(np.mean([change.value for change in every])))
    return contrast([1.0], [every], spread, confidence)
