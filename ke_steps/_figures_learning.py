"""Figures of what a model learns and forgets, and how that goes with its entropy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ke_steps import _style
from ke_steps._figure_data import Tables, group_names, points
from ke_steps._quantities import QUANTITIES

CONDITIONS = ("all", "paraphrase", "once")
COLOURS = dict(zip(CONDITIONS, (_style.INK, *_style.QUALITATIVE[:2]), strict=True))
TASK_COLOURS = [_style.QUALITATIVE[index] for index in (4, 2, 8, 6, 5, 9, 7)]
"""As many as there are tasks."""


def acquisition_and_forgetting(tables: Tables) -> Figure:
    """A by condition and F by task, by stage."""
    runs = tables.main_runs()
    figure, axes = _style.panels(len(runs), 2)
    tasks = [task for task in group_names(tables.summary, "forgetting") if task != "mean"]
    for (gained, lost), (model, recipe) in zip(axes, runs, strict=True):
        for condition in CONDITIONS:
            stages = points(tables.summary, model, "acquisition", f"{condition}/all", recipe)
            _style.draw_line(gained, stages, COLOURS[condition], label=condition)
        for task, colour in zip(tasks if len(tasks) > 1 else [], TASK_COLOURS, strict=False):
            stages = points(tables.summary, model, "forgetting", task, recipe)
            _style.draw_line(lost, stages, colour, label=task, linewidth=1, markersize=3)
        stages = points(tables.summary, model, "forgetting", "mean", recipe)
        _style.draw_line(lost, stages, COLOURS["all"], label="mean over tasks")
        for axis, name in ((gained, "acquisition A"), (lost, "forgetting F")):
            axis.axhline(0, color=_style.GREY, linewidth=0.8, zorder=1)
            axis.set_title(_style.title(name, model, recipe, runs))
            axis.set_ylabel("A" if axis is gained else "F")
            _style.percent(axis.yaxis)
            _style.label_steps(axis, list(stages["step"]))
            _style.legend_below(axis, 3)
    return figure


def performance_by_stage(tables: Tables) -> Figure:
    """K and P before and after learning, by stage."""
    runs = tables.main_runs()
    figure, axes = _style.panels(len(runs), 2)
    for row, (model, recipe) in zip(axes, runs, strict=True):
        measures = (("performance", "all/all", recipe), ("accuracy", "mean", None))
        for axis, (measure, group, first) in zip(row, measures, strict=True):
            before = points(tables.summary, model, f"{measure}_before", group, first)
            after = points(tables.summary, model, f"{measure}_after", group, recipe)
            _style.draw_line(axis, before, _style.BEFORE, linestyle="--", label="before learning")
            _style.draw_line(axis, after, _style.AFTER, label="after learning")
            name = "probe performance K" if measure == "performance" else "accuracy P"
            axis.set_title(_style.title(name, model, recipe, runs))
            _style.label_steps(axis, list(after["step"]))
        row[0].set_ylabel("K (nats)")
        row[1].set_ylabel("P")
        _style.percent(row[1].yaxis)
    _style.shared_legend(figure, None, loc="outside lower center", max_columns=2)
    return figure


def entropy_and_learning(tables: Tables) -> Figure:
    """H against A and F: a point per stage, with Pearson's r where there are enough."""
    runs = tables.main_runs()
    figure, axes = _style.panels(len(runs), 2, row_inches=3.1)
    colours = _style.stage_colours(tables.steps())
    for row, (model, recipe) in zip(axes, runs, strict=True):
        entropy = points(tables.summary, model, "entropy_nats", "model")
        for axis, (quantity, group) in zip(
            row, (("acquisition", "all/all"), ("forgetting", "mean")), strict=True
        ):
            outcome = points(tables.summary, model, quantity, group, recipe)
            both = entropy.merge(outcome, on="step", suffixes=("_x", "_y"))
            correlation = _pearson(tables.correlations, model, recipe, quantity)
            _draw_stages(axis, both, colours, fitted=not math.isnan(correlation["value"]))
            axis.set_title(_correlation_title(correlation, several=len(runs) > 1))
            axis.set_xlabel("knowledge entropy H (nats)")
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.set_ylabel(QUANTITIES[quantity].label)
            _style.percent(axis.yaxis)
    _style.shared_legend(figure, "pretraining\nstep", steps=tables.steps())
    return figure


def _draw_stages(axis: Axes, both: pd.DataFrame, colours: dict[int, Any], *, fitted: bool) -> None:
    trained = both[both["step"] > 0].dropna(subset=["value_x", "value_y"])
    if fitted:
        slope, intercept = np.polyfit(trained["value_x"], trained["value_y"], 1)
        ends = np.array([trained["value_x"].min(), trained["value_x"].max()])
        axis.plot(ends, slope * ends + intercept, color="#b5bcc6", linewidth=1.2, zorder=1)
    for point in both.to_dict("records"):
        x, y, step = point["value_x"], point["value_y"], int(point["step"])
        colour = colours[step]
        axis.errorbar(
            x, y, xerr=[[x - point["low_x"]], [point["high_x"] - x]],
            yerr=[[y - point["low_y"]], [point["high_y"] - y]],
            fmt="none", ecolor=colour, elinewidth=1, capsize=2,
        )  # fmt: skip
        face = "white" if step == 0 else colour
        axis.plot(x, y, "o", color=colour, markerfacecolor=face, label=_style.step_label(step))


def _pearson(correlations: pd.DataFrame, model: str, recipe: str, outcome: str) -> dict[str, Any]:
    rows = correlations
    found = rows[
        (rows["model"] == model)
        & (rows["recipe"] == recipe)
        & (rows["x"] == "entropy_nats")
        & (rows["y"] == outcome)
        & (rows["method"] == "pearson")
    ]
    return {str(name): value for name, value in found.iloc[0].items()}


def _correlation_title(row: dict[str, Any], *, several: bool) -> str:
    place = f"{row['model']}, {row['recipe']}\n" if several else ""
    if math.isnan(row["value"]):
        return f"{place}too few stages for r"
    interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
    return place + _style.minus(f"r = {row['value']:.2f} {interval}, p = {row['p_value']:.1g}")
