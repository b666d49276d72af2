"""What doses of entropy during learning change, as a table of its own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from ke_steps.report.cells import MISSING, Cell, Number
from ke_steps.report.tables import Heading, Table, short_table
from ke_steps.summary.quantities import QUANTITIES

HEADING = Heading(
    "doses",
    "Doses of entropy while learning",
    "Change against the recipe with the smallest dose, which differs in nothing else, paired on"
    " passages, items and seeds: in nats for K, in bits per token, otherwise in points.",
)
PLACE = ["model", "recipe", "weight", "reference", "step", "variant"]


def dose_table(doses: pd.DataFrame) -> Table | None:
    """Return a row per dose and state of DOSES, a column per measure; None without doses."""
    if doses.empty:
        return None
    labels = {name: QUANTITIES[name].label for name in doses["quantity"].unique()}
    rows = []
    for _, found in doses.groupby(PLACE, sort=False):
        told = found.to_dict("records")
        cells = {row["quantity"]: _change(row) for row in told}
        rows.append(
            {
                "model": told[0]["model"],
                "recipe": told[0]["recipe"],
                "weight": Cell(f"{told[0]['weight']:g}", told[0]["weight"]),
                "against": told[0]["reference"],
                "step": told[0]["step"],
                "variant": told[0]["variant"],
                **{label: cells.get(name, MISSING) for name, label in labels.items()},
            }
        )
    hidden = {key for key in ("model", "variant") if doses[key].nunique() == 1}
    shown = [{key: text for key, text in row.items() if key not in hidden} for row in rows]
    return short_table(HEADING, shown, doses)


def _change(row: Mapping[Hashable, Any]) -> Number:
    return Number(row["change"], row["unit"], row["low"], row["high"], is_change=True)
