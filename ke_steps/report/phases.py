"""The phases of pretraining runs as a table of the report: one row per run."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from ke_steps.report.cells import MISSING, Entry, Number, estimated
from ke_steps.report.tables import Heading, Table, short_table
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACCURACY_BEFORE,
    CONTRIBUTION_ENTROPY,
    DORMANT,
    ENTROPY,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    difference_unit,
)

HEADING = Heading(
    "phases",
    "Before and after saturation",
    "Saturation is a run's first trained checkpoint with 95 % of the recall of its last one; the"
    " plateau the last one before it whose recall cannot be told from chance, or the first trained"
    " one. H and K in nats, shares in percent and changes of them in points. Changes are from the"
    " plateau to saturation (before) and from saturation to the last checkpoint (after), in"
    " brackets the run's own interval, paired on what was resampled. The CSV has the values at each"
    " of these steps, where each is highest, and every recipe.",
)
COURSES = {"H": ENTROPY, "H of contributions": CONTRIBUTION_ENTROPY}
"""Of which both changes are shown."""
LATER = {
    "dormant": DORMANT,
    "K after": KNOWLEDGE_AFTER,
    "F above chance": FORGETTING_ABOVE_CHANCE,
    "P after": ACCURACY_AFTER,
}
"""Of which the change after saturation is shown."""


def phase_table(phases: pd.DataFrame) -> Table | None:
    """Return a row per model of PHASES, with its first recipe; None where there is none."""
    if phases.empty:
        return None
    rows = []
    for model, own in phases.groupby("model", sort=False):
        by_quantity = own.drop_duplicates("quantity").set_index("quantity").to_dict("index")
        rows.append(_row(str(model), by_quantity))
    kept = [name for name in rows[0] if any(row[name] != MISSING for row in rows)]
    shown = [{name: row[name] for name in kept} for row in rows]
    return short_table(HEADING, shown, phases)


def _row(model: str, told: Mapping[Hashable, Mapping[Hashable, Any]]) -> dict[str, Entry]:
    recall = told[ACCURACY_BEFORE.quantity]
    entropy = told.get(ENTROPY.quantity, {})
    row: dict[str, Entry] = {
        "family": MISSING if pd.isna(recall["family"]) else recall["family"],
        "model": model,
        "plateau": _step(recall["plateau_step"]),
        "saturation": _step(recall["saturation_step"]) if not recall["unsaturated"] else "none",
        "last": _step(recall["last_step"]),
        "recall at the last": Number(recall["last"], "fraction"),
        **{
            f"H at {name}": _value(entropy.get(key, math.nan), "nats")
            for name, key in (
                ("the first", "first"),
                ("plateau", "plateau"),
                ("saturation", "saturation"),
                ("its highest", "highest"),
                ("the last", "last"),
            )
        },
    }
    for name, measure in COURSES.items():
        for when in ("before", "after"):
            row[f"{name}, change {when}"] = _change(told.get(measure.quantity), when)
    for name, measure in LATER.items():
        row[f"{name}, change after"] = _change(told.get(measure.quantity), "after")
    return row | {"no saturation, as": recall["unsaturated"] or MISSING}


def _step(step: float) -> Entry:
    return MISSING if pd.isna(step) else int(step)


def _value(value: float, unit: str) -> Entry:
    return MISSING if math.isnan(value) else Number(value, unit)


def _change(row: Mapping[Hashable, Any] | None, when: str) -> Entry:
    if row is None:
        return MISSING
    return estimated(difference_unit(row["unit"]), row, f"change_{when}", is_change=True)
