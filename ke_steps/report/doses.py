"""What doses of entropy during learning change, as a table of its own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from ke_steps.report.tables import Heading, Table, bracketed, short_table
from ke_steps.summary.quantities import QUANTITIES, number

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
    for place, found in doses.groupby(PLACE, sort=False):
        model, recipe, weight, reference, step, variant = place
        cells = {row["quantity"]: _signed(row) for row in found.to_dict("records")}
        rows.append(
            {
                "model": str(model),
                "recipe": str(recipe),
                "weight": f"{weight:g}",
                "against": str(reference),
                "step": f"{step:,}",
                "variant": str(variant),
                **{label: cells.get(name, "–") for name, label in labels.items()},
            }
        )
    hidden = {key for key in ("model", "variant") if doses[key].nunique() == 1}
    shown = [{key: text for key, text in row.items() if key not in hidden} for row in rows]
    return short_table(HEADING, shown, doses)


def _signed(row: Mapping[Hashable, Any]) -> str:
    sign = "+" if row["change"] >= 0 else ""
    interval = bracketed(row["unit"], row["low"], row["high"])
    return sign + number(row["change"], row["unit"]) + interval
