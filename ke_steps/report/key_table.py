"""The key table: what a model knew, learned and forgot, measure by measure over its stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ke_steps.report.overview import KeyRow, KeyTable, Point
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.telling import Summarize
from ke_steps.summary.families import families_of
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACCURACY_BEFORE,
    ACQUISITION,
    ACQUISITION_FROM_ORIGINAL,
    BITS_AFTER,
    BITS_BEFORE,
    ENTROPY,
    ENTROPY_BOUND,
    FORGETTING,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    KNOWLEDGE_BEFORE,
    QUANTITIES,
    Measure,
)

MEASURES = {
    "H": ENTROPY,
    "K before": KNOWLEDGE_BEFORE,
    "K after": KNOWLEDGE_AFTER,
    "A": ACQUISITION,
    "A*": ACQUISITION_FROM_ORIGINAL,
    "P before": ACCURACY_BEFORE,
    "P after": ACCURACY_AFTER,
    "F": FORGETTING,
    "F above chance": FORGETTING_ABOVE_CHANCE,
    "bits per token before": BITS_BEFORE,
    "bits per token after": BITS_AFTER,
}
"""By label, in the order of the table."""


def key_table(
    estimates: pd.DataFrame, families: Mapping[str, str], settings: Summarize
) -> KeyTable:
    """Return the table of the first model, or of its family where all of that share stages.

    Only original checkpoints, with the first recipe that they learned by.

    Args:
        estimates: a frame of ESTIMATES.
        families: the family of each model that has one.
        settings: confidence.
    """
    originals = estimates[estimates["variant"] == ORIGINAL]
    every = list(originals["model"].unique())
    name, models = every[0], every[:1]
    family = families.get(name)
    kin = [model for model in every if family and families.get(model) == family]
    recipe = next(iter(originals.loc[originals["model"] == name, "recipe"].dropna()), None)
    is_told = originals["recipe"].isna() | (originals["recipe"] == recipe)
    rows = originals[is_told & originals["model"].isin(kin or models)]
    shared = _shared_steps(rows)
    if len(kin) > 1 and shared:
        name, models = str(family), kin
        rows = _means(rows[rows["step"].isin(shared)], families, settings)
    else:
        rows = rows[rows["model"] == name]
    steps = sorted(int(step) for step in rows["step"].unique())
    bound = _of(rows, ENTROPY_BOUND)["value"]
    return KeyTable(
        name=name,
        models=models,
        num_others=len(every) - len(models),
        recipe=recipe,
        steps=steps,
        bound_nats=None if bound.empty else bound.iloc[0],
        rows=[
            _row(label, measure, rows, steps)
            for label, measure in MEASURES.items()
            if len(_of(rows, measure))
        ],
    )


def _shared_steps(rows: pd.DataFrame) -> set[int]:
    """Return the steps at which all models have an entropy."""
    steps = _of(rows, ENTROPY).groupby("model")["step"]
    return set.intersection(*(set(own) for _, own in steps)) if len(steps) else set()


def _means(rows: pd.DataFrame, families: Mapping[str, str], settings: Summarize) -> pd.DataFrame:
    """Return the means over models by step, as rows of ESTIMATES."""
    sampled = rows.groupby(["step", "quantity", "group"], as_index=False)["num_items"].max()
    means = families_of(rows.assign(recipe=None), families, settings)
    named = means.rename(columns={"num_models": "num_seeds"})
    return named.merge(sampled, on=["step", "quantity", "group"])


def _of(rows: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    return rows[(rows["quantity"] == measure.quantity) & (rows["group"] == measure.group)]


def _row(label: str, measure: Measure, rows: pd.DataFrame, steps: list[int]) -> KeyRow:
    numbers = ["value", "low", "high", "num_items", "num_seeds"]
    found = _of(rows, measure).set_index("step")[numbers].reindex(steps)
    points = [
        Point.model_validate({"step": step} | {name: _known(point[name]) for name in numbers})
        for step, point in zip(steps, found.to_dict("records"), strict=True)
    ]
    return KeyRow(
        label=label,
        quantity=measure.quantity,
        group=measure.group,
        unit=measure.unit,
        sampled=QUANTITIES[measure.quantity].units,
        points=points,
    )


def _known(value: Any) -> Any:
    """Return a number, or None for what is not known."""
    return None if pd.isna(value) or not math.isfinite(value) else value
