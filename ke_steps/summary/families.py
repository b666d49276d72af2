"""Models that are runs of one pretraining with other seeds: what their family comes to."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ke_steps.artefacts.summary_schemas import FAMILIES
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.telling import Summarize
from ke_steps.summary.estimates import interval_kind, seed_means, within_bounds
from ke_steps.summary.quantities import QUANTITIES

FAMILY = ["family", "group", "quantity"]
STATE = ["step"]


def families_of(
    estimates: pd.DataFrame, families: Mapping[str, str], settings: Summarize
) -> pd.DataFrame:
    """Return FAMILIES: means over the models of each family by stage, before learning.

    The interval is that of means over seeds (``formulas.uncertainty.mean``), a model in place of a
    seed: it holds the error of sampling, which all have in common, and that between models.

    Args:
        estimates: a frame of ESTIMATES.
        families: the family of each model that has one.
        settings: confidence.
    """
    is_asked = (estimates["variant"] == ORIGINAL) & estimates["recipe"].isna()
    rows = estimates[is_asked & estimates["model"].isin(families)].reset_index(drop=True)
    if rows.empty:
        return pd.DataFrame(columns=FAMILIES.names)
    numbers = {model: number for number, model in enumerate(families)}
    rows = rows.assign(
        family=rows["model"].map(families), seed=rows["model"].map(numbers).astype("Int64")
    )
    is_sampled = rows["quantity"].map(lambda name: bool(QUANTITIES[name].units)).astype(bool)
    means = seed_means(rows, FAMILY, STATE, settings.confidence, is_sampled)
    keys = [*FAMILY, *STATE]
    parts = rows.groupby(keys, sort=False)
    members = parts.agg(models=("model", list), values=("value", list)).reset_index()
    named = rows.drop_duplicates(keys, ignore_index=True)[[*keys, "is_trained", "unit"]]
    table = named.merge(members, on=keys).join(means.rename(columns={"num_seeds": "num_models"}))
    kinds = [
        interval_kind(QUANTITIES[name].units, is_seeded=is_seeded).replace("seeds", "models")
        for name, is_seeded in zip(table["quantity"], table["is_seeded"], strict=True)
    ]
    table["interval_kind"] = pd.Series(kinds, index=table.index, dtype=object)
    return within_bounds(table).reindex(columns=FAMILIES.names)
