"""The figure that compares interventions on the same checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ke_steps import _style
from ke_steps._figure_data import Tables, points
from ke_steps._quantities import QUANTITIES
from ke_steps.settings import ORIGINAL

VARIANT_PANELS = (
    ("H", "entropy_nats", "model"),
    ("A", "acquisition", "all/all"),
    ("F", "forgetting", "mean"),
    ("K after", "performance_after", "all/all"),
    ("P after", "accuracy_after", "mean"),
)


def variants(tables: Tables) -> Figure:
    """H, A, F and the end performances K and P by variant, at the stages that have variants."""
    runs = tables.runs()
    names = list(tables.summary["variant"].unique())
    changed = tables.summary[tables.summary["variant"] != ORIGINAL]
    steps = sorted((changed if len(changed) else tables.summary)["step"].unique())
    row_inches = max(1.8, 0.9 + 0.16 * len(names) * len(steps))
    figure, axes = _style.panels(len(runs), len(VARIANT_PANELS), row_inches=row_inches, sharey=True)
    colours = _style.stage_colours(tables.steps())
    for row, (model, recipe) in zip(axes, runs, strict=True):
        for axis, (title, quantity, group) in zip(row, VARIANT_PANELS, strict=True):
            first = None if quantity == "entropy_nats" else recipe
            for height, variant in enumerate(names):
                found = points(tables.summary, model, quantity, group, first, variant=variant)
                _draw_dodged(axis, found, steps, height, colours)
            axis.set_title(title)
            for height in range(0, len(names), 2):
                axis.axhspan(height - 0.5, height + 0.5, color="#f4f6f8", zorder=0)
            axis.grid(visible=False, axis="y")
            axis.tick_params(axis="x", labelsize=7)
            axis.locator_params(axis="x", nbins=3)
            if QUANTITIES[quantity].unit == "fraction":
                _style.percent(axis.xaxis)
            else:
                axis.set_xlabel("nats", fontsize=8)
        row[0].set_yticks(range(len(names)), names)
        row[0].set_ylim(len(names) - 0.5, -0.5)
        row[0].set_ylabel("" if len(runs) == 1 else f"{model}, {recipe}")
    by_label: dict[str, Any] = {}
    for axis in axes[:, 0]:
        handles, labels = axis.get_legend_handles_labels()
        by_label |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(by_label.values()), list(by_label), title="pretraining step",
        loc="outside lower center", ncols=8,
    )  # fmt: skip
    return figure


def _draw_dodged(
    axis: Axes, found: pd.DataFrame, steps: list[int], height: int, colours: dict[int, Any]
) -> None:
    offsets = np.linspace(-0.2, 0.2, len(steps)) if len(steps) > 1 else np.zeros(1)
    for step, offset in zip(steps, offsets, strict=True):
        for point in found[found["step"] == step].to_dict("records"):
            bars = [
                [max(0, point["value"] - point["low"])],
                [max(0, point["high"] - point["value"])],
            ]
            axis.errorbar(
                point["value"], height + offset, xerr=bars, fmt="o", color=colours[step],
                capsize=2, elinewidth=1, label=f"{step:,}" if height == 0 else None,
            )  # fmt: skip
