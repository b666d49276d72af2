"""What an intervention gains downstream: the change of P after learning against the original."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ke_steps.artefacts.places import Identity
from ke_steps.formulas.uncertainty import (
    Sampled,
    SeedSpread,
    contrast,
    spread_beside_seeds,
)
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.telling import Summarize
from ke_steps.summary.estimates import interval_kind
from ke_steps.summary.quantities import ACCURACY_AFTER, QUANTITIES
from ke_steps.summary.replicates import Replicates


def downstream(
    summary: pd.DataFrame, replicates: Replicates, settings: Summarize
) -> list[dict[str, Any]]:
    """Return the rows of DOWNSTREAM: every variant that learned as its original did.

    ``summary`` is without runs that diverged. The change is over the seeds that both have, and
    paired on items and seeds. The relative change is the same over the original's P after learning,
    which counts as exact.

    Raises:
        UserError: the replicates of a run are not there.
    """
    is_measure = (summary[["quantity", "group"]] == list(ACCURACY_AFTER)).all(axis=1)
    learned = summary[is_measure].dropna(subset="value")
    found: list[dict[str, Any]] = []
    for (model, recipe), runs in learned.groupby(["model", "recipe"], sort=False):
        values = runs.pivot(index=["step", "variant"], columns="seed", values="value")
        trained = values[values.index.get_level_values("step") > 0]
        spread = spread_beside_seeds(trained)
        for step, variant in runs[["step", "variant"]].drop_duplicates().itertuples(index=False):
            if variant == ORIGINAL or (step, ORIGINAL) not in values.index:
                continue
            states = [(step, variant), (step, ORIGINAL)]
            seeds = values.loc[states].dropna(axis="columns").columns
            samples = [
                [
                    _sampled(replicates, Identity(str(model), *state, str(recipe), int(seed)))
                    for seed in seeds
                ]
                for state in states
            ]
            if len(seeds):
                place = {"model": model, "recipe": recipe, "step": step, "variant": variant}
                place["num_items"] = runs["num_items"].iloc[0]
                found.append(place | _change(samples, spread, settings.confidence))
    return found


def _sampled(replicates: Replicates, run: Identity) -> Sampled:
    sampled = replicates.of(ACCURACY_AFTER, run)
    if sampled is None:
        raise UserError(f"--replicates: no file has {ACCURACY_AFTER.label} of {run}")
    return sampled


def _change(
    states: list[list[Sampled]], spread: SeedSpread, confidence: float
) -> dict[str, float | str]:
    """Return the change from the second state to the first, in fractions of 1 and of the second."""
    change = contrast((1.0, -1.0), states, spread, confidence)
    original = sum(sample.value for sample in states[1]) / len(states[1])
    units = QUANTITIES[ACCURACY_AFTER.quantity].units
    names = ("change", "change_low", "change_high")
    relative = ("relative", "relative_low", "relative_high")
    return {
        **dict(zip(names, change[:3], strict=True)),
        **{name: end / original for name, end in zip(relative, change[:3], strict=True)},
        "interval_kind": interval_kind(units, is_seeded=spread.freedom > 0) + ", paired",
        "num_seeds": len(states[0]),
    }
