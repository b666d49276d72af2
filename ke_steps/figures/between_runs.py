"""The figure of what goes with entropy between runs of pretraining."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing, keep
from ke_steps.figures.layout import panels, shared_legend, words
from ke_steps.figures.panels import Tables
from ke_steps.summary.digits import decimals_of
from ke_steps.summary.quantities import QUANTITIES, number, show_p


def entropy_and_learning_between_runs(tables: Tables) -> Drawing:
    """Outcomes of learning against H, beside all that runs share; a dot per run and stage."""
    rows = tables.between_runs
    recipes = [recipe for recipe in tables.recipes if recipe in set(rows["recipe"])]
    if not recipes:
        return words("Nothing to show: too few runs have a stage in common.")
    rows = rows[rows["recipe"] == recipes[0]]
    quantities = list(rows["quantity"].unique())
    figure, axes = panels(1, len(quantities), row_inches=3.1)
    looks = style.line_looks(rows["family"].unique())
    for axis, quantity in zip(axes[0], quantities, strict=True):
        here = rows[rows["quantity"] == quantity]
        _draw_slope(axis, here)
        for family, look in looks.items():
            runs = here[here["family"] == family]
            axis.plot(
                runs["entropy_residual_nats"], runs["residual"], look["marker"],
                color=look["colour"], markersize=3.5, markeredgewidth=0, label=family,
            )  # fmt: skip
            keep(axis, runs, "entropy_residual_nats", "residual", family)
        axis.set_title(_title(here.iloc[0]))
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.set_xlabel("H beside the rest (nats)")
        unit = here["unit"].iloc[0]
        if unit == "fraction":
            style.percent(axis.yaxis)
        in_unit = "" if unit == "fraction" else f" ({unit})"
        axis.set_ylabel(f"{QUANTITIES[quantity].label} beside the rest{in_unit}")
    shared_legend(figure, "family", loc="outside lower center", max_columns=6)
    return figure


def _draw_slope(axis: Axes, rows: pd.DataFrame) -> None:
    """Draw the line of the slope through the middle, in the wedge of its interval."""
    first, entropy = rows.iloc[0], rows["entropy_residual_nats"]
    ends = np.array([entropy.min(), 0.0, entropy.max()])
    wedge = (first["slope_low"] * ends, first["slope_high"] * ends)
    axis.fill_between(ends, *wedge, facecolor="#e6e9ed", edgecolor=style.GREY, zorder=0)
    axis.plot(ends, first["slope"] * ends, color=style.GREY, linewidth=1.2, zorder=1)


def _title(row: pd.Series) -> str:
    """Write slope and interval, in points where the outcome is a fraction, and p."""
    slope, unit = row[["slope", "slope_low", "slope_high"]], row["unit"]
    decimals = decimals_of([(slope["slope_low"], slope["slope_high"])], unit)
    value, low, high = (number(each, unit, decimals) for each in slope)
    in_points = " points" if row["unit"] == "fraction" else f" {row['unit']}"
    return f"β = {value} [{low}, {high}]\n{in_points.strip()} per nat, {show_p(row['p_value'])}"
