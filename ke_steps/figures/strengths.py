"""Figures of interventions by their strength: boost q, quantile p, attention temperature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing
from ke_steps.figures.layout import named_steps
from ke_steps.figures.marks import draw_line
from ke_steps.figures.panels import COMPARED, Outcome, Tables, by_step
from ke_steps.figures.resuscitation import (
    MAX_LINES,
    best_resuscitation,
    head_block,
    outcome_blocks,
)
from ke_steps.figures.sweeps import SweptName, sweeps, temperatures
from ke_steps.summary.points import spread_indices
from ke_steps.summary.quantities import ACQUISITION, Measure

HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 1.2, "linestyle": "none"}
DIAMOND: dict[str, Any] = {"marker": "D", "linestyle": "none"}
OF_FFN = (
    "Diamonds, at FFN: of the resuscitations run at these stages, the one whose K after learning is"
    " furthest above the original's on average."
)


def resuscitation_by_boost(tables: Tables) -> Drawing:
    """H, A, F and the end performances K and P against q at fixed p."""
    return _sweep_figure(tables, "boost", "boost q", scale=1)


def resuscitation_by_quantile(tables: Tables) -> Drawing:
    """The same against p at fixed q."""
    return _sweep_figure(tables, "quantile", "quantile p (%)", scale=100)


def _sweep_figure(tables: Tables, swept: SweptName, label: str, *, scale: float) -> Drawing:
    found = [
        (model, recipe, sweep)
        for sweep in sweeps(tables.variants, swept)
        for model, recipe in tables.main_runs(sweep.values)
        if len(_swept_stages(_by_strength(tables, ACQUISITION, model, recipe, sweep.values)))
    ]
    figure, model_panels = outcome_blocks(tables, len(found))
    looks = style.ordered_looks(tables.steps())
    for block, (model, recipe, sweep) in zip(model_panels, found, strict=True):
        strengths = sorted(set(sweep.values.values()))
        none = strengths[0] - _mean_gap(strengths)
        ticks = {none: "none"} | {each: f"{scale * each:.3g}" for each in strengths}
        outcomes = _outcomes(tables, model, recipe, sweep.values)
        shown = _few_stages(figure, {each: _swept_stages(rows) for each, rows in outcomes.items()})
        for axis, (outcome, changed) in zip(block, shown.items(), strict=False):
            original = _originals_of(changed, tables, outcome.measure, model, recipe)
            _draw_stages(axis, changed, looks)
            _draw_stages(axis, original.assign(strength=none), looks, **HOLLOW)
            for stage in original.to_dict("records"):
                colour = looks[int(stage["step"])]["colour"]
                axis.axhline(stage["value"], color=colour, linewidth=0.8, linestyle=":")
            style.label_ticks(axis, ticks)
            axis.set_xlabel(label)
            outcome.dress(axis)
            tables.draw_reference(axis, outcome.measure, model)
        head_block(block, tables, model, sweep.shared)
        _fill_legend_cell(figure, block, looks, {"original": HOLLOW})
    return figure


def attention_temperature(tables: Tables) -> Drawing:
    """The same against the temperature of attention, the best resuscitation beside it.

    A block for each way to give it a temperature.
    """
    found = [
        (model, recipe, sweep)
        for sweep in temperatures(tables.variants)
        for model, recipe in tables.main_runs(sweep.values)
    ]
    figure, model_panels = outcome_blocks(tables, len(found))
    looks = style.ordered_looks(tables.steps())
    for block, (model, recipe, sweep) in zip(model_panels, found, strict=True):
        strengths = sorted({1.0, *sweep.values.values()})
        ticks = {value: f"{value:g}" for value in strengths}
        marks = {"original": HOLLOW}
        if (best := best_resuscitation(tables, model, recipe)) is not None:
            ticks[strengths[-1] + _mean_gap(strengths)] = "FFN"
            marks[best] = DIAMOND
            figure.note(OF_FFN)
        shown = _few_stages(figure, _outcomes(tables, model, recipe, sweep.values))
        for axis, (outcome, changed) in zip(block, shown.items(), strict=False):
            original = _originals_of(changed, tables, outcome.measure, model, recipe)
            original = original.assign(strength=1.0)
            _draw_stages(axis, pd.concat([original, changed]), looks)
            _draw_stages(axis, original, looks, **HOLLOW)
            if best is not None:
                woken = _by_strength(tables, outcome.measure, model, recipe, {best: max(ticks)})
                woken = woken[woken["step"].isin(changed["step"])]
                _draw_stages(axis, woken, looks, **DIAMOND)
            style.label_ticks(axis, ticks)
            axis.set_xlabel("temperature of attention")
            outcome.dress(axis)
            tables.draw_reference(axis, outcome.measure, model)
        head_block(block, tables, model, sweep.shared)
        _fill_legend_cell(figure, block, looks, marks)
    return figure


def _outcomes(
    tables: Tables, model: str, recipe: str, strengths: Mapping[str, float]
) -> dict[Outcome, pd.DataFrame]:
    return {
        outcome: _by_strength(tables, outcome.measure, model, recipe, strengths)
        for outcome in tables.measured(COMPARED)
    }


def _few_stages(
    figure: Drawing, outcomes: Mapping[Outcome, pd.DataFrame]
) -> dict[Outcome, pd.DataFrame]:
    """Return at most ``MAX_LINES`` of the stages, spread evenly; the caption says so."""
    steps = sorted(pd.concat([rows["step"] for rows in outcomes.values()]).unique())
    if len(steps) > MAX_LINES:
        figure.note(f"Drawn are {MAX_LINES} of {len(steps)} stages; the table of variants has all.")
    drawn = [steps[place] for place in spread_indices(len(steps), MAX_LINES)]
    return {outcome: rows[rows["step"].isin(drawn)] for outcome, rows in outcomes.items()}


def _by_strength(
    tables: Tables, measure: Measure, model: str, recipe: str, strengths: Mapping[str, float]
) -> pd.DataFrame:
    """Return the points of variants with their strength."""
    return pd.concat(
        tables.points(measure, model, recipe, variant).assign(strength=strength)
        for variant, strength in strengths.items()
    )


def _swept_stages(changed: pd.DataFrame) -> pd.DataFrame:
    """Return the stages at which the strength takes two values: one alone is no sweep."""
    return changed[changed.groupby("step")["strength"].transform("nunique") > 1]


def _originals_of(
    changed: pd.DataFrame, tables: Tables, measure: Measure, model: str, recipe: str
) -> pd.DataFrame:
    original = tables.points(measure, model, recipe)
    return original[original["step"].isin(changed["step"])]


def _mean_gap(values: list[float]) -> float:
    return (values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else 1.0


def _draw_stages(
    axis: Axes, marks: pd.DataFrame, looks: dict[int, dict[str, Any]], **look: Any
) -> None:
    for step, stage in by_step(marks):
        own = looks[step]
        edge = {"markeredgecolor": own["colour"]} if look else {"label": style.step_label(step)}
        draw_line(axis, stage.sort_values("strength"), **{"x": "strength", **own, **edge, **look})


def _fill_legend_cell(
    figure: Drawing,
    block: list[Axes],
    looks: dict[int, dict[str, Any]],
    marks: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the stages drawn in the panels, and what other marks mean, into the last cell."""
    cell = block[-1]
    cell.set_axis_off()
    shown: set[str] = {label for axis in block for label in axis.get_legend_handles_labels()[1]}
    drawn = {
        label: look for step, look in looks.items() if (label := style.step_label(step)) in shown
    }
    handles = [
        Line2D([], [], color=drawn[label]["colour"], marker=drawn[label]["marker"], label=label)
        for label in named_steps(figure, list(drawn))
    ]
    handles += [
        Line2D([], [], color=style.GREY, label=name, **{"marker": "o", **look})
        for name, look in marks.items()
    ]
    cell.legend(
        handles=handles, loc="center left", title="pretraining step", ncols=1 + len(handles) // 12
    )
