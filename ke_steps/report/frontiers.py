"""Frontiers of learning as a table of the report: one row per stage or variant."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from ke_steps.report.cells import MISSING, Entry, Number
from ke_steps.report.tables import Heading, Table, short_table
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import number

HEADING = Heading(
    "frontiers",
    "New knowledge against old, over learning rates",
    "The dominated area is all of (P, K) that some learning rate reaches and that is better in both"
    " than chance and K before learning. K at the same P is compared over the P that both reach, in"
    " the mean: a variant with its original, a later stage with the middle one. Areas and K in"
    " nats, with the interval of the mean over seeds; differences are paired. The best rate is that"
    " of each half of the passages. The CSV has every point.",
)


def frontier_table(frontiers: pd.DataFrame) -> Table | None:
    """Return a row per state of FRONTIERS; None where nothing learned at several rates."""
    if frontiers.empty:
        return None
    keys = ["model", "frontier", "step", "variant"]
    states = [part for _, part in frontiers.groupby(keys, sort=False)]
    hidden = {key for key in ("model", "frontier") if frontiers[key].nunique() == 1}
    rows = [{k: text for k, text in _row(part).items() if k not in hidden} for part in states]
    return short_table(HEADING, rows, frontiers)


def _row(points: pd.DataFrame) -> dict[str, Entry]:
    first = points.to_dict("records")[0]
    old = points["accuracy_after"]
    best = points.loc[points["num_halves_best"].fillna(0) > 0, "learning_rate"]
    return {
        "model": first["model"],
        "frontier": first["frontier"],
        "step": first["step"],
        "variant": first["variant"],
        "learning rates": len(points),
        "P after, %": f"{number(old.min(), 'fraction')} to {number(old.max(), 'fraction')}",
        "best rate": ", ".join(f"{rate:g}" for rate in best) or MISSING,
        "area": _value(first, "area"),
        "compared with": _reference(first),
        "same P, %": _matched(first),
        "K at the same P": _value(first, "lead", is_change=True),
        "area, difference": _value(first, "area_lead", is_change=True),
    }


def _reference(row: Mapping[Hashable, Any]) -> str:
    if pd.isna(row["reference_step"]):
        return MISSING
    is_stage = row["variant"] == ORIGINAL
    return f"step {row['reference_step']:,.0f}" if is_stage else row["reference_variant"]


def _matched(row: Mapping[Hashable, Any]) -> str:
    if pd.isna(row["reference_step"]):
        return MISSING
    if pd.isna(row["matched_from"]):
        return "none in common"
    low, high = (number(row[f"matched_{end}"], "fraction") for end in ("from", "to"))
    return f"{low} to {high}"


def _value(row: Mapping[Hashable, Any], name: str, *, is_change: bool = False) -> Number:
    value, low, high = (row[f"{name}_{end}"] for end in ("nats", "low", "high"))
    return Number(value, "nats", low, high, is_change)
