"""A figure of what pretraining runs do before and after their facts are learned."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing
from ke_steps.figures.layout import NothingToShowError, num_columns, panels, shared_legend
from ke_steps.figures.marks import draw_line
from ke_steps.figures.panels import Tables
from ke_steps.summary.points import rows_of
from ke_steps.summary.quantities import ACCURACY_BEFORE, DORMANT, WHOLE_MODEL, Measure

MAX_COLUMNS = 4
ROW_INCHES = (1.8, 0.95, 0.95)
"""Of entropy, dormant memories and recall."""


class Line(NamedTuple):
    """One measure over the steps: in which row of a family's column, and how it looks."""

    row: int
    label: str
    measure: Measure
    colour: Any
    look: dict[str, Any]


LINES = (
    Line(0, "H of |c|", Measure("normalized_entropy", WHOLE_MODEL), style.BEFORE, {}),
    Line(
        0,
        "H of contributions",
        Measure("contribution_normalized_entropy", WHOLE_MODEL),
        style.BEFORE,
        {"linestyle": "--", "marker": "s"},
    ),
    Line(1, "dormant memories", DORMANT, style.QUALITATIVE[1], {"marker": "D"}),
    Line(2, "recall P", ACCURACY_BEFORE, style.QUALITATIVE[2], {"marker": "^"}),
)
TOLD = [
    *("family", "quantity", "group", "unit", "step", "is_trained", "value", "low", "high"),
    *("interval_kind", "num_models"),
]
ROW_NAMES = ("H / (L ln m)", "dormant", "recall P")


def entropy_by_phase(tables: Tables) -> Drawing:
    """H / (L ln m), dormant memories and recall over the logarithm of the step, by family."""
    runs = tables.phases.dropna(subset="family").drop_duplicates("model")
    families = list(runs["family"].unique())
    if len(families) < 2:
        raise NothingToShowError("no two families have recall at enough checkpoints")
    num_each, num_rows = num_columns(min(MAX_COLUMNS, len(families))), len(ROW_INCHES)
    num_blocks = -(-len(families) // num_each)
    figure, axes = panels(
        num_blocks * num_rows,
        num_each,
        row_inches=float(np.mean(ROW_INCHES)),
        height_ratios=ROW_INCHES * num_blocks,
        sharex=True,
        sharey=True,
    )
    columns = [column for block in np.split(axes, num_blocks) for column in block.T]
    for column, family in zip(columns, families, strict=False):
        _draw_family(list(column), tables, family, runs[runs["family"] == family])
    for row, name in enumerate(ROW_NAMES):
        _share_scale(axes[row::num_rows, 0])
        for axis in axes[row::num_rows, 0]:
            axis.set_ylabel(name)
            style.percent(axis.yaxis)
    for axis in (axis for column in columns[len(families) :] for axis in column):
        axis.remove()
    shared_legend(figure, None, loc="outside lower center", max_columns=5)
    return figure


def _draw_family(column: list[Axes], tables: Tables, family: str, runs: pd.DataFrame) -> None:
    courses = tables.families[(tables.families["family"] == family) & tables.families["is_trained"]]
    for line in LINES:
        stages = rows_of(courses.assign(recipe=None), line.measure).sort_values("step")
        axis = column[line.row]
        look = {"markersize": 2.5, "linewidth": 1.2, **line.look}
        draw_line(axis, stages[TOLD], line.colour, label=line.label, **look)
    for axis in column:
        for step in runs["saturation_step"].dropna():
            axis.axvline(
                step, color=style.GREY, linewidth=0.9, linestyle=":", label="saturation of a run"
            )
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(numticks=5))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda step, _: style.short_step(step)))
    tables.draw_reference(column[2], ACCURACY_BEFORE, *runs["model"])
    num_lost = int(runs["saturation_step"].isna().sum())
    column[0].set_title(family, fontsize=8)
    if num_lost:
        note = f"{num_lost} of {len(runs)} without saturation"
        column[0].annotate(
            note, (0.03, 0.03), xycoords="axes fraction", color=style.GREY, fontsize=7.5
        )
    column[-1].tick_params(labelbottom=True)
    column[-1].set_xlabel("pretraining step")


def _share_scale(axes: np.ndarray[Any, Any]) -> None:
    """Give the rows of one kind the scale that holds all of them."""
    limits = np.array([axis.get_ylim() for axis in axes])
    for axis in axes:
        axis.set_ylim(limits[:, 0].min(), limits[:, 1].max())
