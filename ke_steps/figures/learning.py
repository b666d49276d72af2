"""Figures of what a model learns and forgets, and how that goes with its entropy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing, keep
from ke_steps.figures.layout import legend_below, panels, shared_legend
from ke_steps.figures.marks import draw_line, draw_seeds, draw_zero, sides
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
LOOKS = {"all": style.OF_ALL} | style.line_looks(CONDITIONS[1:])
OUTCOMES = LEARNING[:2]
"""A and F."""
PERFORMANCES = (
    Outcome("probe performance K", "K (nats)", KNOWLEDGE_AFTER),
    Outcome("accuracy P", "P", ACCURACY_AFTER),
)


def acquisition_and_forgetting(tables: Tables) -> Drawing:
    """A by condition and F by task, by stage."""
    runs = tables.main_runs()
    outcomes = tables.measured(OUTCOMES)
    figure, axes = panels(len(runs), len(outcomes))
    for row, (model, recipe) in zip(axes, runs, strict=True):
        steps: list[int] = []
        for axis, outcome in zip(row, outcomes, strict=True):
            _DRAWN[outcome.measure](axis, tables, model, recipe)
            steps.extend(tables.points(outcome.measure, model, recipe)["step"])
            draw_zero(axis)
            outcome.dress(axis)
            axis.set_title(style.title(outcome.title, model, recipe, runs))
            legend_below(axis, 3)
        style.label_steps(row, steps)
    return figure


def _draw_acquisition(axis: Axes, tables: Tables, model: str, recipe: str) -> None:
    for condition in CONDITIONS:
        stages = tables.points(ACQUISITION.of(f"{condition}/all"), model, recipe)
        draw_line(axis, stages, **LOOKS[condition], label=condition)


def _draw_forgetting(axis: Axes, tables: Tables, model: str, recipe: str) -> None:
    groups = group_names(tables.summary, FORGETTING.quantity)
    tasks = [task for task in groups if task != ALL_TASKS]
    for task, look in style.line_looks(tasks if len(tasks) > 1 else []).items():
        stages = tables.points(FORGETTING.of(task), model, recipe)
        draw_line(axis, stages, **look, label=task, linewidth=1, markersize=3)
    stages = tables.points(FORGETTING, model, recipe)
    draw_line(axis, stages, **style.OF_ALL, label="mean over tasks")


_DRAWN = {ACQUISITION: _draw_acquisition, FORGETTING: _draw_forgetting}
"""How a panel of each is filled."""


def performance_by_stage(tables: Tables) -> Drawing:
    """K and P before and after learning, by stage."""
    runs = tables.main_runs()
    performances = tables.measured(PERFORMANCES)
    figure, axes = panels(len(runs), len(performances))
    for row, (model, recipe) in zip(axes, runs, strict=True):
        steps: list[int] = []
        for axis, performance in zip(row, performances, strict=True):
            moments = (BEFORE[performance.measure], performance.measure)
            before, after = (tables.points(measure, model, recipe) for measure in moments)
            look = {"marker": "s", "linestyle": "--", "label": "before learning"}
            draw_line(axis, before, style.BEFORE, **look)
            draw_line(axis, after, style.AFTER, label="after learning")
            performance.dress(axis)
            axis.set_title(style.title(performance.title, model, recipe, runs))
            tables.draw_reference(axis, performance.measure, model)
            steps.extend([*before["step"], *after["step"]])
        style.label_steps(row, steps)
    shared_legend(figure, None, loc="outside lower center", max_columns=2)
    return figure


def entropy_and_learning(tables: Tables) -> Drawing:
    """H against A and F: a point per stage, with Pearson's r where there are enough."""
    runs = tables.main_runs()
    outcomes = tables.measured(OUTCOMES)
    figure, axes = panels(len(runs), len(outcomes), row_inches=3.1)
    looks = style.ordered_looks(tables.steps())
    for row, (model, recipe) in zip(axes, runs, strict=True):
        entropy = tables.points(ENTROPY, model)[["step", "value", "low", "high"]]
        entropy.columns = ["step", "entropy_nats", "entropy_low", "entropy_high"]
        for axis, outcome in zip(row, (each.measure for each in outcomes), strict=True):
            learned = tables.points(outcome, model, recipe)
            both = learned.merge(entropy, on="step")
            correlation = _pearson(tables.correlations, model, recipe, outcome)
            if not math.isnan(correlation["value"]):
                _draw_fit(axis, both, correlation)
            _draw_stages(axis, both, looks)
            if not both["is_trained"].all():
                figure.note("A hollow point is the untrained model, shown but not counted.")
            axis.set_title(_correlation_title(correlation, several=len(runs) > 1))
            axis.set_xlabel("knowledge entropy H (nats)")
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.set_ylabel(outcome.label)
            style.percent(axis.yaxis)
    shared_legend(figure, "pretraining\nstep", steps=tables.steps())
    return figure


def _draw_fit(axis: Axes, both: pd.DataFrame, correlation: dict[str, Any]) -> None:
    """Draw the line of least squares through the trained stages."""
    trained = both[both["is_trained"]].dropna(subset=["value", "entropy_nats"])
    slope, intercept = np.polyfit(trained["entropy_nats"], trained["value"], 1)
    ends = np.array([trained["entropy_nats"].min(), trained["entropy_nats"].max()])
    line = pd.DataFrame({"entropy_nats": ends, "value": slope * ends + intercept})
    axis.plot(line["entropy_nats"], line["value"], color=style.GREY, linewidth=1.2, zorder=1)
    told = {"pearson_r": "value", "r_low": "low", "r_high": "high", "p_value": "p_value"}
    told |= {"num_stages": "num_points", "model": "model", "recipe": "recipe", "quantity": "y"}
    rows = line.assign(**{name: correlation[key] for name, key in told.items()})
    keep(axis, rows, "entropy_nats", "value", "least squares")


def _draw_stages(axis: Axes, both: pd.DataFrame, looks: dict[int, dict[str, Any]]) -> None:
    across = sides(both, "entropy_nats", "entropy_low", "entropy_high")
    for number, point in enumerate(both.to_dict("records")):
        x, y, step = point["entropy_nats"], point["value"], int(point["step"])
        colour, marker = looks[step]["colour"], looks[step]["marker"]
        draw_seeds(axis, [x] * len(point["seeds"]), point["seeds"], colour)
        up, right = ([[side.iloc[number]] for side in pair] for pair in (sides(both), across))
        axis.errorbar(x, y, up, right, fmt="none", ecolor=colour, elinewidth=1, capsize=2)
        face = colour if point["is_trained"] else "white"
        label = style.step_label(step)
        axis.plot(x, y, marker, color=colour, markerfacecolor=face, label=label)
    keep(axis, both, "entropy_nats", "value")


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
