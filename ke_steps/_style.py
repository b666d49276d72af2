"""One look for every figure: small, light, safe for colour-blind readers, the same bytes each time.

Stages of pretraining are ordered, so they take a sequential palette (light is early); conditions,
outcomes and variants are not, so they take the qualitative one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

mpl.use("Agg")

WIDTH_INCHES = 8.4
ROW_INCHES = 2.9
PNG_DPI = 160
GREY = "#5b6470"
QUALITATIVE: list[Any] = [*sns.color_palette("colorblind")]
BEFORE, AFTER = QUALITATIVE[0], QUALITATIVE[3]

# No dates, no versions: equal numbers give equal files.
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def use_style() -> None:
    """Set the look of every figure drawn afterwards."""
    sns.set_theme(
        style="whitegrid",
        font="DejaVu Sans",
        rc={
            "font.size": 9,
            "axes.labelsize": 9,
            "axes.titlesize": 9,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "legend.fontsize": 8,
            "legend.title_fontsize": 8,
            "legend.frameon": False,
            "axes.edgecolor": "#c3c9d1",
            "axes.linewidth": 0.8,
            "axes.labelcolor": "#24292f",
            "text.color": "#24292f",
            "grid.color": "#e6e9ed",
            "grid.linewidth": 0.7,
            "lines.linewidth": 1.6,
            "lines.markersize": 5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.formatter.useoffset": False,
            "figure.constrained_layout.use": True,
            "figure.constrained_layout.w_pad": 0.07,
            "svg.hashsalt": "ke_steps",
            "svg.fonttype": "path",
            "savefig.bbox": None,
        },
    )


def panels(
    num_rows: int, num_columns: int, *, row_inches: float = ROW_INCHES, **options: Any
) -> tuple[Figure, np.ndarray[Any, Any]]:
    """Return a figure of the common width and its axes (num_rows, num_columns)."""
    figure = Figure(figsize=(WIDTH_INCHES, row_inches * num_rows + 0.2))
    axes = figure.subplots(num_rows, num_columns, squeeze=False, **options)
    return figure, axes


def stage_colours(steps: Sequence[int]) -> dict[int, Any]:
    """Return a colour per step, light (early) to dark (late)."""
    ordered = sorted(set(steps))
    positions = np.linspace(0.12, 1, len(ordered)) if len(ordered) > 1 else [0.7]
    return dict(zip(ordered, sns.color_palette("viridis_r", as_cmap=True)(positions), strict=True))


def draw_line(
    axis: Axes, stages: pd.DataFrame, colour: Any, *, x: str = "step", **style: Any
) -> None:
    """Draw value, low and high over the column ``x``; one stage alone is a point."""
    value = stages["value"]
    bars = [(value - stages["low"]).clip(lower=0), (stages["high"] - value).clip(lower=0)]
    axis.errorbar(stages[x], value, bars, fmt="none", ecolor=colour, elinewidth=1, capsize=2.5)
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    axis.plot(stages[x], value, color=colour, **{"marker": "o", **edge, **style})


def label_steps(axis: Axes, steps: Sequence[int]) -> None:
    """Label the x axis as pretraining steps; one stage alone gets one tick in the middle."""
    axis.set_xlabel("pretraining step")
    if len(steps) == 1:
        axis.set_xticks(list(steps))
        axis.set_xlim(steps[0] - 1, steps[0] + 1)
    else:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda step, _: short_step(step)))


def short_step(step: float) -> str:
    """Write a step for an axis: 738020 as ``738k``."""
    return f"{step / 1000:.0f}k" if abs(step) >= 10_000 else f"{step:,.0f}"


def percent(axis: Any) -> None:
    """Show the fractions of an axis (``axes.xaxis`` or ``axes.yaxis``) in percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{100 * value:.3g} %")))


def minus(text: str) -> str:
    """Write a minus sign as one."""
    return text.replace("-", "−")


def legend_below(axis: Axes, num_columns: int) -> None:
    """Put the legend of one panel under its x label."""
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=num_columns)


def legend_right(figure: Figure, axis: Axes, title: str) -> None:
    """Put the legend of one panel beside all of them."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="outside right center")


def save(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure as ``svg``, ``pdf`` or ``png``."""
    figure.savefig(path, format=kind, dpi=PNG_DPI, metadata=METADATA[kind])
