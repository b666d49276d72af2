"""The effects of gauge and function, and variants against their controls, as a table."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from ke_steps.report.cells import MISSING, Entry, Number
from ke_steps.report.tables import Heading, Table, short_table
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION_FROM_ORIGINAL,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
)

HEADING = Heading(
    "effects",
    "What an intervention is made of",
    "Of the original O, the gauge S, the function V and resuscitation R with the same multipliers:"
    " the effect of the function (V − O + R − S) / 2, that of the gauge (S − O + R − V) / 2, their"
    " interaction R − S − V + O. Below them each variant less its controls, of several draws their"
    " mean with the interval of one more; behind it, than how many it is surely better. Entropy"
    " alone is a gauge that learned as fast, memory by memory, as the original did, less that. K in"
    " nats,"
    " the others in points; all is paired on passages, items and seeds. Where recipes differ in"
    " learning rate alone their mean is shown; the CSV has each.",
)
COLUMNS = (KNOWLEDGE_AFTER, ACCURACY_AFTER, ACQUISITION_FROM_ORIGINAL, FORGETTING_ABOVE_CHANCE)


def effect_table(effects: pd.DataFrame) -> Table | None:
    """Return a row per effect of EFFECTS, a column per outcome; None where there are none."""
    if effects.empty:
        return None
    told = effects[effects["recipe"].isna() | effects["frontier"].isna()]
    keys = ["model", "step", "frontier", "recipe", "effect", "variant"]
    rows = [_row(part) for _, part in told.groupby(keys, sort=False, dropna=False)]
    hidden = {key for key in ("model", "recipe") if len({row[key] for row in rows}) == 1}
    shown = [{key: text for key, text in row.items() if key not in hidden} for row in rows]
    return short_table(HEADING, shown, effects)


def _row(part: pd.DataFrame) -> dict[str, Entry]:
    outcomes = {row["quantity"]: row for row in part.to_dict("records")}
    first = next(iter(outcomes.values()))
    mean = f"{first['frontier']}, {first['num_recipes']} rates"
    return {
        "model": first["model"],
        "recipe": mean if pd.isna(first["recipe"]) else first["recipe"],
        "step": first["step"],
        "variant": first["variant"],
        "effect": _name(first),
        **{measure.label: _cell(outcomes.get(measure.quantity)) for measure in COLUMNS},
    }


def _name(row: Mapping[Hashable, Any]) -> str:
    if pd.isna(row["num_draws"]):
        return str(row["effect"])
    draws = f", {row['num_draws']:.0f} draws" if row["num_draws"] > 1 else ""
    return f"less {row['effect']}{draws}"


def _cell(row: Mapping[Hashable, Any] | None) -> Entry:
    if row is None:
        return MISSING
    is_alone = pd.isna(row["num_draws"])
    beaten = "" if is_alone else f"{row['num_beaten']:.0f} of {row['num_draws']:.0f}"
    told = Number(row["value"], row["unit"], row["low"], row["high"], is_change=True)
    return told._replace(more=beaten)
