"""One look for every figure: small, light, safe for colour-blind readers, the same bytes each time.

Stages of pretraining and layers are ordered, so they take a sequential palette (light is early);
conditions, outcomes and variants are not, so they take the qualitative one. Every colour has a
contrast of at least 3 : 1 against white, and whatever differs in colour differs in its marker too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

mpl.use("Agg")

WIDE_INCHES = 8.4
NARROW_INCHES = 3.7
"""For phones: what is shown 350 px wide has text of 9 px where it is set in 7 points."""
GREY = "#5b6470"
INK = "#24292f"
QUALITATIVE = (
    *("#0173b2", "#c44e00", "#007a5a", "#b0357f"),
    *("#8a6a00", "#5b4bb5", "#00838f", "#7d3b1e"),
)
MARKERS = "osD^vPX"
BEFORE, AFTER = QUALITATIVE[:2]
OF_ALL: dict[str, Any] = {"colour": INK, "marker": "p"}
"""What stands for the others of its panel: their mean, or what they are changes of."""
SEQUENTIAL = ("plasma_r", 0.37, 1.0)
"""A colour map, and the part of it that is dark enough."""
LABEL_INCHES = 0.075
"""The width of a digit of a tick label."""


def use_style(width_inches: float = WIDE_INCHES) -> None:
    """Set the look of every figure drawn afterwards, and how wide it is."""
    sns.set_theme(
        style="whitegrid",
        font="DejaVu Sans",
        rc={
            "figure.figsize": (width_inches, width_inches),
            "font.size": 9,
            "axes.labelsize": 9,
            "axes.titlesize": 9,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "xtick.bottom": True,
            "xtick.color": GREY,
            "xtick.labelcolor": INK,
            "xtick.major.size": 3,
            "xtick.minor.size": 3,
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


def width_inches() -> float:
    """Return how wide figures are drawn."""
    return float(mpl.rcParams["figure.figsize"][0])


def is_narrow() -> bool:
    """Tell whether figures are drawn for a phone: their panels one below the other."""
    return width_inches() < WIDE_INCHES


def ordered_looks(items: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return colour and marker of each stage or layer, light (early) to dark (late)."""
    ordered = sorted(set(items))
    name, first, last = SEQUENTIAL
    positions = np.linspace(first, last, len(ordered)) if len(ordered) > 1 else [0.7]
    colours = sns.color_palette(name, as_cmap=True)(positions)
    return {
        item: {"colour": tuple(colour), "marker": MARKERS[index % len(MARKERS)]}
        for index, (item, colour) in enumerate(zip(ordered, colours, strict=True))
    }


def line_looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return colour and marker of a line per name; 56 of them differ."""
    return {
        name: {
            "colour": QUALITATIVE[index % len(QUALITATIVE)],
            "marker": MARKERS[index % len(MARKERS)],
        }
        for index, name in enumerate(names)
    }


def label_steps(axes: Sequence[Axes], steps: Iterable[int]) -> None:
    """Give panels one x axis of pretraining steps: a tick at every stage, a number where it fits.

    The first and the last stage are numbered, of the others those that are far enough apart.
    """
    stages = sorted({int(step) for step in steps})
    for axis in axes:
        axis.set_xlabel("pretraining step")
        if not stages:
            continue
        length = stages[-1] - stages[0]
        margin = 0.05 * length or 1
        axis.set_xlim(stages[0] - margin, stages[-1] + margin)
        label_ticks(axis, {step: short_step(step) for step in stages})


def label_ticks(axis: Axes, labels: Mapping[float, str]) -> None:
    """Put a tick at every place of a drawn panel's x axis, a label where it fits."""
    low, high = axis.get_xlim()
    label = LABEL_INCHES * (1 + max(map(len, labels.values())))
    inches = axis.get_position().width * width_inches()
    places = sorted(labels)
    labelled = _apart(places, (high - low) * label / inches)
    axis.set_xticks(labelled, [labels[place] for place in labelled])
    axis.set_xticks([place for place in places if place not in labelled], minor=True)


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Return the first and the last place, and of the others those at least ``gap`` apart."""
    first, last = places[0], places[-1]
    found = [first]
    for place in places[1:-1]:
        if place - found[-1] >= gap and last - place >= gap:
            found.append(place)
    return found if last == first else [*found, last]


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
    """Make an axis logarithmic, with ticks at 1, or at 1, 2 and 5, written out.

    A panel in which nothing is drawn says so.
    """
    if not axis.get_data_interval()[1] > 0:
        axis.axes.annotate(
            "nothing is defined here", (0.5, 0.5), xycoords="axes fraction", ha="center", color=GREY
        )
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_data_interval()
    is_short = high <= low * (100 if is_narrow() else 1000)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if is_short else (1,), numticks=6))
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
