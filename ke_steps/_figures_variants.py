"""The figure that compares interventions on the same checkpoints."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ke_steps import _style
from ke_steps._figure_data import Tables
from ke_steps._figure_panels import OUTCOMES, Outcome
from ke_steps.settings import ORIGINAL

SLOT_INCHES = 0.17
SHORT_TITLES = ("H", "A", "F", "K after", "P after")


def variants(tables: Tables) -> Figure:
    """H, A, F and the end performances K and P by variant, at the stages that have variants."""
    runs = tables.main_runs(tables.variants)
    places = {model: heights(tables, model) for model, _ in runs}
    num_slots = max((sum(map(len, steps.values())) for steps in places.values()), default=0)
    row_inches = max(1.8, 0.9 + SLOT_INCHES * num_slots)
    figure, axes = _style.panels(len(runs), len(OUTCOMES), row_inches=row_inches, sharey="row")
    for row, (model, recipe) in zip(axes, runs, strict=True):
        for axis, outcome, title in zip(row, OUTCOMES, SHORT_TITLES, strict=True):
            _draw_outcome(axis, outcome, tables, (model, recipe), places[model])
            axis.set_title(title)
        centres = [float(np.mean(list(steps.values()))) for steps in places[model].values()]
        row[0].set_yticks(centres, list(places[model]))
        row[0].set_ylim(num_slots - 0.5, -0.5)
        row[0].set_ylabel("" if len(runs) == 1 else f"{model}, {recipe}")
    _style.shared_legend(
        figure, "pretraining step", steps=tables.steps(), loc="outside lower center", max_columns=8
    )
    return figure


def heights(tables: Tables, model: str) -> dict[str, dict[int, int]]:
    """Return by variant and step the place of a point, from 0 at the top downwards.

    The original has the steps that some variant has.
    """
    rows = tables.summary[tables.summary["model"] == model]
    steps = {
        name: sorted(int(step) for step in rows.loc[rows["variant"] == name, "step"].unique())
        for name in tables.variants
    }
    every = {ORIGINAL: sorted(set().union(*steps.values()))} | {k: v for k, v in steps.items() if v}
    places: dict[str, dict[int, int]] = {}
    first = 0
    for name, own in every.items():
        places[name] = {step: first + number for number, step in enumerate(own)}
        first += len(own)
    return places


def _draw_outcome(
    axis: Axes,
    outcome: Outcome,
    tables: Tables,
    run: tuple[str, str],
    places: dict[str, dict[int, int]],
) -> None:
    colours = _style.stage_colours(tables.steps())
    for number, (variant, slots) in enumerate(places.items()):
        for point in outcome.points(tables, *run, variant).to_dict("records"):
            if (step := int(point["step"])) not in slots:
                continue
            value = point["value"]
            bars = [[max(0, value - point["low"])], [max(0, point["high"] - value)]]
            axis.errorbar(
                value, slots[step], xerr=bars, fmt="o", color=colours[step], capsize=2,
                elinewidth=1, label=_style.step_label(step),
            )  # fmt: skip
        if number % 2 == 0:
            ends = min(slots.values()) - 0.5, max(slots.values()) + 0.5
            axis.axhspan(*ends, color="#f4f6f8", zorder=0)
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="x", labelsize=7)
    axis.locator_params(axis="x", nbins=3)
    if outcome.is_fraction:
        _style.percent(axis.xaxis)
    else:
        axis.set_xlabel("nats", fontsize=8)
