"""The correlations of entropies with what learning comes to, as a table of the report."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from ke_steps.report.cells import MISSING, Cell, Entry, estimated
from ke_steps.report.tables import Heading, Table, short_table
from ke_steps.summary.quantities import QUANTITIES, show_p


def correlation_table(correlations: pd.DataFrame) -> Table | None:
    """Return the correlations of the entropies with each outcome over the stages, if any."""
    if correlations.empty:
        return None
    rows = [
        {
            "model": row["model"],
            "recipe": row["recipe"],
            "between": f"{_short(row['x'])} and {_short(row['y'])}",
            "method": row["method"].capitalize(),
            **_correlation_cells(row),
            "stages": row["num_points"],
        }
        for row in correlations.to_dict("records")
    ]
    note = (
        "Over the trained stages, original checkpoints, mean over seeds. The"
        " interval resamples stages; with few stages trust p more."
    )
    return short_table(Heading("correlations", "Correlations", note), rows, correlations)


def _short(quantity: str) -> str:
    return QUANTITIES[quantity].label.removeprefix("knowledge ").removeprefix("entropy ")


def _correlation_cells(row: dict[Any, Any]) -> dict[str, Entry]:
    if math.isnan(row["value"]):
        return {"r": "too few stages", "p": MISSING}
    shown = show_p(row["p_value"]).removeprefix("p = ").removeprefix("p ")
    return {"r": estimated("", row), "p": Cell(shown, row["p_value"])}
