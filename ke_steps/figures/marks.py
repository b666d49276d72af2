"""What stands in a panel: lines with their bars, the seeds beside them, and lines to compare with.

Everything that tells a number is drawn from rows, which the figure keeps (``drawn``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ke_steps.figures import style
from ke_steps.figures.drawn import keep

EDGE = {"markeredgecolor": "white", "markeredgewidth": 0.5}
REFERENCE: dict[str, Any] = {
    "color": style.GREY,
    "linewidth": 1.0,
    "linestyle": (0, (1, 1.5)),
    "zorder": 1,
}
"""How lines look that were not measured: chance, bounds, zero."""
MARKS_ON_CURVE = 6
"""A curve of many points has markers at some of them."""


def draw_line(axis: Axes, rows: pd.DataFrame, colour: Any, *, x: str = "step", **look: Any) -> None:
    """Draw value, low and high over the column ``x``; one row alone is a point.

    The values of several seeds, where the column ``seeds`` has them, are thin dots.
    """
    value = rows["value"]
    if "seeds" in rows:
        dots = [
            (place, value)
            for place, seeds in zip(rows[x], rows["seeds"], strict=True)
            for value in (seeds if len(set(seeds)) > 1 else ())
        ]
        if dots:
            places, values = zip(*dots, strict=True)
            draw_seeds(axis, places, values, colour)
    axis.errorbar(rows[x], value, sides(rows), fmt="none", ecolor=colour, elinewidth=1, capsize=2.5)
    axis.plot(rows[x], value, color=colour, **{"marker": "o", **EDGE, **look})
    keep(axis, rows, x, "value", look.get("label", ""))


def draw_curve(axis: Axes, rows: pd.DataFrame, colour: Any, x: str, y: str, **look: Any) -> None:
    """Draw a line of many points, without bars."""
    every = max(1, len(rows) // MARKS_ON_CURVE)
    axis.plot(rows[x], rows[y], color=colour, **{"markevery": every, **EDGE, **look})
    keep(axis, rows, x, y, look.get("label", ""))


def sides(rows: pd.DataFrame, of: str = "value", low: str = "low", high: str = "high") -> list[Any]:
    """Return the lengths of bars below and above a column."""
    below, above = rows[of] - rows[low], rows[high] - rows[of]
    return [below.clip(lower=0), above.clip(lower=0)]


def draw_seeds(axis: Axes, x: Sequence[float], y: Sequence[float], colour: Any) -> None:
    """Draw what a point is the mean of as thin dots; one value alone is the point itself."""
    if max(len(set(x)), len(set(y))) > 1:
        axis.scatter(x, y, s=4, color=colour, linewidths=0, zorder=1.5)


def draw_reference(axis: Axes, name: str, value: float, *, along: str = "y") -> None:
    """Draw what the values of a panel are to be compared with; far off, say it at the edge.

    Comes after all else in a panel: the line is far off where it would squeeze the rest into less
    than a third of it.
    """
    low, high = sorted(axis.get_ylim() if along == "y" else axis.get_xlim())
    span = high - low
    is_near = low - 2 * span <= value <= high + 2 * span
    if along == "x":
        if is_near:
            axis.axvline(value, label=name, **REFERENCE)
            keep(axis, _reference_row(name, value), "value", "value", name)
        return
    is_above = not is_near and value > high
    if is_near:
        axis.axhline(value, **REFERENCE)
        place: tuple[float, float] = (1, value)
        words = name
        keep(axis, _reference_row(name, value), "value", "value", name)
    else:
        place = (1, high if is_above else low)
        words = f"{name} {'↑' if is_above else '↓'}"
    # below the upper edge, where the panel's title would be in the way
    axis.annotate(
        words, place, xycoords=("axes fraction", "data"), xytext=(-2, -2 if is_above else 2),
        textcoords="offset points", ha="right", va="top" if is_above else "bottom",
        color=style.GREY, fontsize=7.5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}, zorder=1.2,
    )  # fmt: skip


def _reference_row(name: str, value: float) -> pd.DataFrame:
    return pd.DataFrame({"reference": [name], "value": [value]})


def draw_zero(axis: Axes) -> None:
    """Draw where nothing changes."""
    axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1)


def note_gaps(axis: Axes, stages: pd.DataFrame) -> None:
    """Write into a panel at which steps its quantity is not defined, and hence not drawn."""
    gaps = stages.loc[stages["value"].isna(), "step"]
    if len(gaps):
        steps = ", ".join(map(style.short_step, gaps))
        axis.annotate(
            f"not defined at step {steps}", (0.98, 0.03), xycoords="axes fraction",
            ha="right", va="bottom", color=style.GREY, fontsize=8,
        )  # fmt: skip
