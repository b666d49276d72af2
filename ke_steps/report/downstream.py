"""The downstream gain of interventions, as a table of its own."""

from __future__ import annotations

import pandas as pd

from ke_steps.report.cells import estimated
from ke_steps.report.tables import Heading, Table, short_table
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import rows_of
from ke_steps.summary.quantities import ACCURACY_AFTER

ENDS = ("value", "low", "high")
HEADING = Heading(
    "downstream",
    "Downstream after learning",
    "P after learning in percent, of the original and of each variant, with the intervals of every"
    " table. The change, in points and relative to the original, is paired: on the items that both"
    " answered and on the seeds that both have.",
)


def downstream_table(downstream: pd.DataFrame, estimates: pd.DataFrame) -> Table | None:
    """Return a row per variant, recipe and step of DOWNSTREAM; None where nothing was changed."""
    if downstream.empty:
        return None
    keys = ["model", "recipe", "step", "variant"]
    state = ["model", "step", "variant"]
    measured = {
        recipe: rows_of(estimates, ACCURACY_AFTER, recipe).set_index(state).to_dict("index")
        for recipe in downstream["recipe"].unique()
    }
    shown, full = [], []
    for row in downstream.to_dict("records"):
        points = {
            name: measured[row["recipe"]][row["model"], row["step"], variant]
            for name, variant in (("original", ORIGINAL), ("changed", row["variant"]))
        }
        shown.append(
            {
                **{key: str(row[key]) for key in ("model", "recipe")},
                "step": row["step"],
                "variant": row["variant"],
                "P after, original": estimated("fraction", points["original"]),
                "P after, variant": estimated("fraction", points["changed"]),
                "change, points": estimated("points", row, "change", is_change=True),
                "relative, %": estimated("points", row, "relative", is_change=True),
            }
        )
        ends = {f"{name}_{end}": point[end] for name, point in points.items() for end in ENDS}
        full.append({key: row[key] for key in keys} | ends | row)
    hidden = {key for key in ("model", "recipe") if downstream[key].nunique() == 1}
    rows = [{key: text for key, text in row.items() if key not in hidden} for row in shown]
    return short_table(HEADING, rows, pd.DataFrame(full))
