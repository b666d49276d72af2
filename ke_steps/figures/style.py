"""One look for every figure: small, light, safe for colour-blind readers, the same bytes each time.

Stages of pretraining are ordered, so they take a sequential palette (light is early); conditions,
outcomes and variants are not, so they take the qualitative one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ke_steps.job.errors import UserError

mpl.use("Agg")


class NothingToShowError(UserError):
    """The tables have no row of what a figure shows."""


WIDTH_INCHES = 8.4
ROW_INCHES = 2.9
PNG_DPI = 160
GREY = "#5b6470"
INK = "#24292f"
QUALITATIVE: list[Any] = [*sns.color_palette("colorblind")]
MARKERS = "osD^v"
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
            "axes.labelcolor": INK,
            "text.color": INK,
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
    if num_rows == 0 or num_columns == 0:
        raise NothingToShowError("the tables hold nothing that it shows")
    figure = Figure(figsize=(WIDTH_INCHES, row_inches * num_rows + 0.2))
    axes = figure.subplots(num_rows, num_columns, squeeze=False, **options)
    return figure, axes


def blocks(
    num_blocks: int,
    num_panels: int,
    num_columns: int,
    *,
    row_inches: float = ROW_INCHES,
    **options: Any,
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure and, for each block, its panels row by row; cells left over are removed."""
    rows_each = -(-num_panels // max(1, num_columns))
    figure, axes = panels(num_blocks * rows_each, num_columns, row_inches=row_inches, **options)
    cells = [list(block.flat) for block in np.split(axes, num_blocks)]
    for block in cells:
        for axis in block[num_panels:]:
            axis.remove()
    return figure, [block[:num_panels] for block in cells]


def words(text: str) -> Figure:
    """Return a figure that says a sentence, where there is nothing to draw."""
    figure = Figure(figsize=(WIDTH_INCHES, 1))
    figure.text(0.5, 0.5, text, color=GREY, ha="center", va="center")
    return figure


def stage_colours(steps: Sequence[int]) -> dict[int, Any]:
    """Return a colour per step, light (early) to dark (late)."""
    ordered = sorted(set(steps))
    positions = np.linspace(0.12, 1, len(ordered)) if len(ordered) > 1 else [0.7]
    return dict(zip(ordered, sns.color_palette("viridis_r", as_cmap=True)(positions), strict=True))


def line_looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return colour and marker of a line per name; from the eleventh on another marker."""
    return {
        name: {
            "colour": QUALITATIVE[index % len(QUALITATIVE)],
            "marker": MARKERS[index // len(QUALITATIVE) % len(MARKERS)],
        }
        for index, name in enumerate(names)
    }


def draw_line(
    axis: Axes, stages: pd.DataFrame, colour: Any, *, x: str = "step", **style: Any
) -> None:
    """Draw value, low and high over the column ``x``; one stage alone is a point.

    The values of several seeds, where the column ``seeds`` has them, are thin dots.
    """
    value = stages["value"]
    if "seeds" in stages:
        for place, seeds in zip(stages[x], stages["seeds"], strict=True):
            draw_seeds(axis, [place] * len(seeds), seeds, colour)
    bars = [(value - stages["low"]).clip(lower=0), (stages["high"] - value).clip(lower=0)]
    axis.errorbar(stages[x], value, bars, fmt="none", ecolor=colour, elinewidth=1, capsize=2.5)
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    axis.plot(stages[x], value, color=colour, **{"marker": "o", **edge, **style})


def draw_seeds(axis: Axes, x: Sequence[float], y: Sequence[float], colour: Any) -> None:
    """Draw what a point is the mean of as thin dots; one value alone is the point itself."""
    if max(len(set(x)), len(set(y))) > 1:
        axis.scatter(x, y, s=5, color=colour, alpha=0.45, linewidths=0, zorder=1.5)


def note_gaps(axis: Axes, stages: pd.DataFrame) -> None:
    """Write into a panel at which steps its quantity is not defined, and hence not drawn."""
    gaps = stages.loc[stages["value"].isna(), "step"]
    if len(gaps):
        steps = ", ".join(map(short_step, gaps))
        axis.annotate(
            f"not defined at step {steps}", (0.98, 0.03), xycoords="axes fraction",
            ha="right", va="bottom", color=GREY, fontsize=8,
        )  # fmt: skip


def label_steps(axis: Axes, steps: Sequence[int]) -> None:
    """Label the x axis as pretraining steps; one stage alone gets one tick in the middle."""
    axis.set_xlabel("pretraining step")
    if not steps:
        return
    if len(steps) == 1:
        axis.set_xticks(list(steps))
        axis.set_xlim(steps[0] - 1, steps[0] + 1)
    else:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda step, _: short_step(step)))


def step_label(step: float) -> str:
    """Write a step for a legend: ``738,020``."""
    return f"{step:,.0f}"


def short_step(step: float) -> str:
    """Write a step for an axis: 738020 as ``738k``."""
    return f"{step / 1000:.0f}k" if abs(step) >= 10_000 else f"{step:,.0f}"


def percent(axis: Any) -> None:
    """Show the fractions of an axis (``axes.xaxis`` or ``axes.yaxis``) in percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{100 * value:.3g} %")))


def log_axis(axis: Any) -> None:
    """Make an axis logarithmic, with ticks at 1, 2 and 5 written out.

    A panel in which nothing is drawn says so.
    """
    if not axis.get_data_interval()[1] > 0:
        axis.axes.annotate(
            "nothing is defined here", (0.5, 0.5), xycoords="axes fraction", ha="center", color=GREY
        )
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def reach_values(axes: Iterable[Axes]) -> None:
    """Let the y axis that panels share reach as far as their lines; bars may go beyond."""
    panels = list(axes)
    lines = [
        np.asarray(line.get_ydata(), dtype=np.float64)
        for axis in panels
        for line in axis.get_lines()
        if line.get_linestyle() != "None"  # the caps of bars are lines as well
    ]
    values = np.concatenate([[np.nan], *lines])
    if not np.isnan(values).all():
        low, high = np.nanmin(values), np.nanmax(values)
        margin = 0.1 * (high - low) or 0.1
        panels[0].set_ylim(low - margin, high + margin)


def title(name: str, model: str, recipe: str, runs: Sequence[tuple[str, str]]) -> str:
    """Return the title of a panel, with model and recipe where the figure shows several."""
    return name if len(runs) == 1 else f"{name} · {model}, {recipe}"


def minus(text: str) -> str:
    """Write a minus sign as one."""
    return text.replace("-", "−")


def legend_below(axis: Axes, num_columns: int) -> None:
    """Put the legend of one panel under its x label."""
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=num_columns)


def legend_beside(axis: Axes, name: str) -> None:
    """Put the legend of one panel to its right, outside."""
    axis.legend(title=name, loc="center left", bbox_to_anchor=(1.01, 0.5))


def shared_legend(
    figure: Figure,
    name: str | None,
    *,
    steps: Sequence[int] = (),
    loc: Literal["outside right center", "outside lower center"] = "outside right center",
    max_columns: int = 1,
) -> None:
    """Put one legend beside all panels: each label once, steps ascending and before the others."""
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    first = [label for step in steps if (label := step_label(step)) in handles]
    labels = [*first, *(label for label in handles if label not in first)]
    if labels:
        num_rows = -(-len(labels) // max_columns)
        figure.legend(
            [handles[label] for label in labels],
            labels,
            title=name,
            loc=loc,
            ncols=-(-len(labels) // num_rows),
        )


def settle(figure: Figure) -> None:
    """Lay a finished figure out, once for all formats: that takes longer than writing it."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def save(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure as ``svg``, ``pdf`` or ``png``."""
    figure.savefig(path, format=kind, dpi=PNG_DPI, metadata=METADATA[kind])
