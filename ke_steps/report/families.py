"""The table of families: what runs of one pretraining with other seeds come to."""

from __future__ import annotations

import pandas as pd

from ke_steps.report.cells import Entry, estimated
from ke_steps.report.tables import MAIN_COLUMNS, Heading, Table, short_table
from ke_steps.summary.quantities import BEFORE_LEARNING

HEADING = Heading(
    "families",
    "Families",
    "As in Every stage, before learning: the mean over models that are seeds of one pretraining."
    " Its interval holds both errors, of sampling and between these runs.",
)
COLUMNS = [column for column in MAIN_COLUMNS if column.measure in BEFORE_LEARNING]


def family_table(families: pd.DataFrame) -> Table | None:
    """Return a row per family and stage, with the number of its runs; None without families.

    Its CSV has a row per run, whose value is beside the mean.

    Args:
        families: a frame of FAMILIES.
    """
    measures = pd.MultiIndex.from_frame(families[["quantity", "group"]])
    told = families[measures.isin([column.measure for column in COLUMNS])]
    if told.empty:
        return None
    points = told.set_index(["family", "step", "quantity", "group"]).to_dict("index")
    columns = [column for column in COLUMNS if column.measure in measures]
    rows = []
    for (family, step), found in told.groupby(["family", "step"], sort=False):
        cells: dict[str, Entry] = {"family": str(family), "step": int(found["step"].iloc[0])}
        cells["runs"] = int(found["num_models"].max())
        for column in columns:
            point = points.get((family, step, *column.measure))
            cells[column.label] = estimated(column.measure.unit, point)
        rows.append(cells)
    runs = told.explode(["models", "values"])
    full = runs.rename(columns={"models": "model", "values": "value_of_model"})
    return short_table(HEADING, rows, full)
