"""Runs of pretraining side by side, at the stages that all of them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ke_steps.formulas.between_runs import Panel
from ke_steps.summary.points import rows_of, stages_of
from ke_steps.summary.quantities import BITS_BEFORE, ENTROPY, Measure


class RunsOfPretraining(NamedTuple):
    """Models that can be compared at the same stages, and those left out."""

    models: list[str]
    families: list[str]
    """Of each model."""
    steps: list[int]
    """At which entropy and outcome of all of them are defined; empty where there are none."""
    panel: Panel
    """(models, steps), with the covariates below."""
    beside: list[Measure]
    """What was asked for as covariates and all of them have at all of these steps."""
    diverged: list[str]
    """Left out: of some stage no run of learning counts."""
    alone: list[str]
    """Left out: no other run of their family is there."""


def side_by_side(
    estimates: pd.DataFrame,
    families: Mapping[str, str],
    outcome: Measure,
    recipe: str,
    lost: Collection[str],
    *,
    beside: Sequence[Measure] = (BITS_BEFORE,),
) -> RunsOfPretraining:
    """Return the runs that learned by a recipe, with entropy, outcome and covariates.

    Args:
        estimates: a frame of ESTIMATES: means over the seeds of learning.
        families: the family of each model that has one.
        outcome: of learning.
        recipe: of learning.
        lost: models of which some stage has only runs of this recipe that diverged.
        beside: measured before learning; those that all have are covariates.
    """
    outcomes = _courses(estimates, outcome, recipe)
    entropies, *others = (_courses(estimates, measure) for measure in (ENTROPY, *beside))
    learned = set(outcomes.index[outcomes.notna().any(axis=1)])
    measured = [name for name in estimates["model"].unique() if name in learned or name in lost]
    counted = [model for model in measured if model not in lost]
    sizes = Counter(families.get(model) for model in counted)
    models = [model for model in counted if model in families and sizes[families[model]] > 1]
    defined = entropies.reindex(models) + outcomes.reindex(models)
    steps = [int(step) for step in defined.columns[defined.notna().all()]] if models else []
    outcomes, entropies, *others = (
        table.reindex(index=models, columns=steps) for table in (outcomes, entropies, *others)
    )
    known = {
        measure: table.to_numpy(float)
        for measure, table in zip(beside, others, strict=True)
        if table.notna().all(axis=None)
    }
    names = [families[model] for model in models]
    numbers = {family: number for number, family in enumerate(dict.fromkeys(names))}
    return RunsOfPretraining(
        models,
        names,
        steps,
        Panel(
            outcomes.to_numpy(float),
            entropies.to_numpy(float),
            np.reshape(list(known.values()), (len(known), *outcomes.shape)),
            np.array([numbers[name] for name in names], dtype=np.int64),
        ),
        list(known),
        [model for model in measured if model in lost],
        [model for model in counted if model not in models],
    )


def _courses(estimates: pd.DataFrame, measure: Measure, recipe: str | None = None) -> pd.DataFrame:
    """Return the values at the stages of pretraining (models, steps), both named."""
    rows = stages_of(rows_of(estimates, measure, recipe))
    return rows.pivot(index="model", columns="step", values="value")
