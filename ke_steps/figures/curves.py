"""Figures of new knowledge over the steps of learning: while it is injected, and afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing, keep
from ke_steps.figures.layout import blocks, panels, shared_legend
from ke_steps.figures.marks import REFERENCE, draw_curve, draw_line
from ke_steps.figures.panels import Tables, by_step, first_recipes
from ke_steps.formulas.ratios import acquisition
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.estimates import seed_means
from ke_steps.summary.quantities import KNOWLEDGE_AFTER

CONDITIONS = ("paraphrase", "once")
STEP_LEGEND = "pretraining\nstep"
DIVERGED = "diverged"
"""The series of a run that did."""


def probe_curves(tables: Tables) -> Drawing:
    """K while new knowledge is learned: a panel per condition, a colour per stage."""
    curves, conditions = _originals(tables.curves)
    runs = tables.main_runs()
    figure, axes = panels(len(runs), len(conditions), sharey=True)
    looks = style.ordered_looks(tables.steps())
    for row, (model, recipe) in zip(axes, runs, strict=True):
        here = curves[(curves["model"] == model) & (curves["recipe"] == recipe)]
        for axis, condition in zip(row, conditions, strict=True):
            shown = here[here["condition"] == condition]
            _draw_curves(axis, shown, looks)
            lost = tables.diverged_curves
            same_run = (lost["model"] == model) & (lost["recipe"] == recipe)
            _draw_diverged(axis, lost[same_run & (lost["condition"] == condition)], looks)
            injected = shown.loc[shown["moment"] == "after", "train_step"].unique()
            for step in injected:
                axis.axvline(step, **REFERENCE)
            axis.grid(visible=False, axis="x")
            axis.set_title(style.title(condition, model, recipe, runs))
            axis.set_xlabel("learning step (vertical lines: injections)")
            tables.draw_reference(axis, KNOWLEDGE_AFTER, model)
        row[0].set_ylabel("K (nats per token)")
    shared_legend(figure, STEP_LEGEND, steps=tables.steps())
    return figure


def _draw_curves(axis: Axes, curves: pd.DataFrame, looks: dict[int, dict[str, Any]]) -> None:
    moments = list(curves["moment"].unique())
    for step, runs in by_step(curves):
        shared = ["model", "recipe", "condition", "step", "train_step", "moment"]
        moment_means = runs.groupby(shared, as_index=False)
        mean = moment_means.agg(
            performance=("performance", "mean"), num_seeds=("performance", "size")
        )
        mean["order"] = mean["moment"].map(moments.index)
        mean = mean.sort_values(["train_step", "order"]).drop(columns="order")
        label = style.step_label(step)
        draw_curve(
            axis, mean, x="train_step", y="performance", **looks[step], label=label, markersize=4
        )


def _draw_diverged(axis: Axes, curves: pd.DataFrame, looks: dict[int, dict[str, Any]]) -> None:
    """Draw every run that diverged by itself, dotted; it has no label and is in no mean."""
    for step, runs in by_step(curves[curves["variant"] == ORIGINAL]):
        for _, run in runs.groupby("seed"):
            x, y = run["train_step"], run["performance"]
            axis.plot(x, y, ":", color=looks[step]["colour"], linewidth=1.1)
            keep(axis, run, "train_step", "performance", DIVERGED)


def knowledge_by_injection(tables: Tables) -> Drawing:
    """A and K just after each injection: a row each, a panel per condition, a colour per stage."""
    curves, conditions = _originals(tables.curves)
    runs = tables.main_runs()
    figure, model_panels = blocks(
        len(runs), 2 * len(conditions), len(conditions), row_inches=2.4, sharey=True
    )
    looks = style.ordered_looks(tables.steps())
    for block, (model, recipe) in zip(model_panels, runs, strict=True):
        here = curves[(curves["model"] == model) & (curves["recipe"] == recipe)]
        for number, condition in enumerate(conditions):
            after = after_injections(here[here["condition"] == condition])
            gained, reached = block[number :: len(conditions)]
            for axis, quantity in ((gained, "acquisition"), (reached, "performance")):
                marks = after.assign(value=after[quantity], low=np.nan, high=np.nan)
                points = means_along(marks, "injection", tables.confidence, is_sampled=False)
                points = points.assign(
                    model=model, recipe=recipe, condition=condition, quantity=quantity
                )
                _draw_by_stage(axis, points, "injection", looks)
                axis.set_xlabel("injections seen")
                axis.xaxis.set_major_locator(MaxNLocator(10, integer=True))
            gained.set_title(style.title(condition, model, recipe, runs))
            style.percent(gained.yaxis)
            tables.draw_reference(reached, KNOWLEDGE_AFTER, model)
        block[0].set_ylabel("A after the injection")
        block[len(conditions)].set_ylabel("K after it (nats per token)")
    shared_legend(figure, STEP_LEGEND, steps=tables.steps())
    return figure


def after_injections(curves: pd.DataFrame) -> pd.DataFrame:
    """Return step, is_trained, seed, injection (from 1), K and acquisition A just after each.

    ``curves`` are the rows of CURVES of one model, recipe and condition. A is relative to the K of
    the same run before its first step.
    """
    start = curves[curves["moment"] == "start"].set_index(["step", "seed"])["performance"]
    after = curves[curves["moment"] == "after"]
    before = pd.MultiIndex.from_frame(after[["step", "seed"]])
    numbers = np.unique(after["train_step"], return_inverse=True)[1] + 1
    return after.assign(
        injection=numbers,
        acquisition=acquisition(start.reindex(before).to_numpy(float), after["performance"]),
    )[["step", "is_trained", "seed", "injection", "performance", "acquisition"]]


def retention_over_time(tables: Tables) -> Drawing:
    """The share of the gain that is left by steps since the last injection's peak.

    Times at which so few passages were followed that there is no interval are left out.
    """
    retained, conditions = _originals(tables.retained)
    retained = retained.dropna(subset=["low", "high"])
    retained = retained[retained["steps_since"] > 0].rename(columns={"retained": "value"})
    runs = first_recipes(retained, tables.recipes)
    figure, axes = panels(len(runs), len(conditions), sharey=True)
    looks = style.ordered_looks(tables.steps())
    for row, (model, recipe) in zip(axes, runs, strict=True):
        here = retained[(retained["model"] == model) & (retained["recipe"] == recipe)]
        for axis, condition in zip(row, conditions, strict=True):
            rows = here[here["condition"] == condition]
            points = means_along(rows, "steps_since", tables.confidence, is_sampled=True)
            points = points.assign(model=model, recipe=recipe, condition=condition)
            _draw_by_stage(axis, points, "steps_since", looks)
            style.log_axis(axis.xaxis)
            axis.set_title(style.title(condition, model, recipe, runs))
            axis.set_xlabel(f"steps of {recipe} since the peak")
        row[0].set_ylabel("share of the gain that is left")
        style.reach_values(row)
        style.percent(row[0].yaxis)
    shared_legend(figure, STEP_LEGEND, steps=tables.steps())
    return figure


def _originals(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows of original checkpoints, and the conditions among them."""
    rows = table[table["variant"] == ORIGINAL]
    return rows, [name for name in CONDITIONS if name in set(rows["condition"])]


def means_along(rows: pd.DataFrame, x: str, confidence: float, *, is_sampled: bool) -> pd.DataFrame:
    """Return step, x, value, low, high and seeds of curves: means as those of the estimates.

    Ascending in x, also where not all seeds have all of them. The spread between seeds is pooled
    over the stages at each x.
    """
    values = rows.groupby([x, "step"], sort=False)["value"].agg(list).rename("seeds").reset_index()
    sampled = pd.Series(is_sampled, index=rows.index)
    means = seed_means(rows, [x], ["step"], confidence, sampled)
    return pd.concat([values, means], axis=1).sort_values(x, kind="stable", ignore_index=True)


def _draw_by_stage(
    axis: Axes, points: pd.DataFrame, x: str, looks: dict[int, dict[str, Any]]
) -> None:
    for step, stage in by_step(points):
        label = style.step_label(step)
        draw_line(axis, stage, **looks[step], x=x, label=label, markersize=3.5)
