"""Figures of what a model learns and forgets, and how that goes with its entropy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ke_steps.figures import style
from ke_steps.figures.panels import BEFORE, LEARNING, Outcome, Tables
from ke_steps.summary.points import group_names
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION,
    ALL_TASKS,
    ENTROPY,
    FORGETTING,
    KNOWLEDGE_AFTER,
    Measure,
)

CONDITIONS = ("all", "paraphrase", "once")
COLOURS = dict(zip(CONDITIONS, (style.INK, *style.QUALITATIVE[:2]), strict=True))
OUTCOMES = LEARNING[:2]
"""A and F."""
PERFORMANCES = (
    Outcome("probe performance K", "K (nats)", KNOWLEDGE_AFTER),
    Outcome("accuracy P", "P", ACCURACY_AFTER),
)
TASK_COLOURS = [style.QUALITATIVE[index] for index in (4, 2, 8, 6, 5, 9, 7)]
"""As many as there are tasks."""


def acquisition_and_forgetting(tables: Tables) -> Figure:
    """A by condition and F by task, by stage."""
    runs = tables.main_runs()
    outcomes = tables.measured(OUTCOMES)
    figure, axes = style.panels(len(runs), len(outcomes))
    for row, (model, recipe) in zip(axes, runs, strict=True):
        for axis, outcome in zip(row, outcomes, strict=True):
            _DRAWN[outcome.measure](axis, tables, model, recipe)
            stages = tables.points(outcome.measure, model, recipe)
            axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1)
            outcome.dress(axis)
            axis.set_title(style.title(outcome.title, model, recipe, runs))
            style.label_steps(axis, list(stages["step"]))
            style.legend_below(axis, 3)
    return figure


def _draw_acquisition(axis: Axes, tables: Tables, model: str, recipe: str) -> None:
    for condition in CONDITIONS:
        stages = tables.points(ACQUISITION.of(f"{condition}/all"), model, recipe)
        style.draw_line(axis, stages, COLOURS[condition], label=condition)


def _draw_forgetting(axis: Axes, tables: Tables, model: str, recipe: str) -> None:
    groups = group_names(tables.summary, FORGETTING.quantity)
    tasks = [task for task in groups if task != ALL_TASKS]
    for task, colour in zip(tasks if len(tasks) > 1 else [], TASK_COLOURS, strict=False):
        stages = tables.points(FORGETTING.of(task), model, recipe)
        style.draw_line(axis, stages, colour, label=task, linewidth=1, markersize=3)
    stages = tables.points(FORGETTING, model, recipe)
    style.draw_line(axis, stages, COLOURS["all"], label="mean over tasks")


_DRAWN = {ACQUISITION: _draw_acquisition, FORGETTING: _draw_forgetting}
"""How a panel of each is filled."""


def performance_by_stage(tables: Tables) -> Figure:
    """K and P before and after learning, by stage."""
    runs = tables.main_runs()
    performances = tables.measured(PERFORMANCES)
    figure, axes = style.panels(len(runs), len(performances))
    for row, (model, recipe) in zip(axes, runs, strict=True):
        for axis, performance in zip(row, performances, strict=True):
            moments = (BEFORE[performance.measure], performance.measure)
            before, after = (tables.points(measure, model, recipe) for measure in moments)
            style.draw_line(axis, before, style.BEFORE, linestyle="--", label="before learning")
            style.draw_line(axis, after, style.AFTER, label="after learning")
            performance.dress(axis)
            axis.set_title(style.title(performance.title, model, recipe, runs))
            style.label_steps(axis, list(after["step"]))
    style.shared_legend(figure, None, loc="outside lower center", max_columns=2)
    return figure


def entropy_and_learning(tables: Tables) -> Figure:
    """H against A and F: a point per stage, with Pearson's r where there are enough."""
    runs = tables.main_runs()
    outcomes = tables.measured(OUTCOMES)
    figure, axes = style.panels(len(runs), len(outcomes), row_inches=3.1)
    colours = style.stage_colours(tables.steps())
    for row, (model, recipe) in zip(axes, runs, strict=True):
        entropy = tables.points(ENTROPY, model)
        for axis, outcome in zip(row, (each.measure for each in outcomes), strict=True):
            learned = tables.points(outcome, model, recipe)
            both = entropy.merge(learned, on="step", suffixes=("_x", "_y"))
            correlation = _pearson(tables.correlations, model, recipe, outcome)
            _draw_stages(axis, both, colours, fitted=not math.isnan(correlation["value"]))
            axis.set_title(_correlation_title(correlation, several=len(runs) > 1))
            axis.set_xlabel("knowledge entropy H (nats)")
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.set_ylabel(outcome.label)
            style.percent(axis.yaxis)
    style.shared_legend(figure, "pretraining\nstep", steps=tables.steps())
    return figure


def _draw_stages(axis: Axes, both: pd.DataFrame, colours: dict[int, Any], *, fitted: bool) -> None:
    trained = both[both["is_trained_x"]].dropna(subset=["value_x", "value_y"])
    if fitted:
        slope, intercept = np.polyfit(trained["value_x"], trained["value_y"], 1)
        ends = np.array([trained["value_x"].min(), trained["value_x"].max()])
        axis.plot(ends, slope * ends + intercept, color="#b5bcc6", linewidth=1.2, zorder=1)
    for point in both.to_dict("records"):
        x, y, step = point["value_x"], point["value_y"], int(point["step"])
        colour = colours[step]
        style.draw_seeds(axis, [x] * len(point["seeds_y"]), point["seeds_y"], colour)
        axis.errorbar(
            x, y, xerr=[[x - point["low_x"]], [point["high_x"] - x]],
            yerr=[[y - point["low_y"]], [point["high_y"] - y]],
            fmt="none", ecolor=colour, elinewidth=1, capsize=2,
        )  # fmt: skip
        face = colour if point["is_trained_x"] else "white"
        axis.plot(x, y, "o", color=colour, markerfacecolor=face, label=style.step_label(step))


def _pearson(
    correlations: pd.DataFrame, model: str, recipe: str, outcome: Measure
) -> dict[str, Any]:
    rows = correlations
    found = rows[
        (rows["model"] == model)
        & (rows["recipe"] == recipe)
        & (rows["x"] == ENTROPY.quantity)
        & (rows["y"] == outcome.quantity)
        & (rows["method"] == "pearson")
    ]
    return {str(name): value for name, value in found.iloc[0].items()}


def _correlation_title(row: dict[str, Any], *, several: bool) -> str:
    place = f"{row['model']}, {row['recipe']}\n" if several else ""
    if math.isnan(row["value"]):
        return f"{place}too few stages for r"
    interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
    return place + style.minus(f"r = {row['value']:.2f} {interval}, p = {row['p_value']:.1g}")
