"""Figures of interventions by their strength: boost q, quantile p, attention temperature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing
from ke_steps.figures.layout import blocks
from ke_steps.figures.marks import draw_line
from ke_steps.figures.panels import COMPARED, Tables, by_step, head
from ke_steps.figures.sweeps import SweptName, resuscitations, sweeps, temperatures, tempered
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import ACQUISITION, KNOWLEDGE_AFTER, Measure

NUM_COLUMNS = 3
"""Five outcomes leave the sixth cell of a block to its legend."""
ROW_INCHES = 2.4
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
    figure, model_panels = _blocks(tables, len(found))
    looks = style.ordered_looks(tables.steps())
    for block, (model, recipe, sweep) in zip(model_panels, found, strict=True):
        strengths = sorted(set(sweep.values.values()))
        none = strengths[0] - _mean_gap(strengths)
        names = [f"{scale * strength:.3g}" for strength in strengths]
        for axis, outcome in zip(block, tables.measured(COMPARED), strict=False):
            changed = _swept_stages(
                _by_strength(tables, outcome.measure, model, recipe, sweep.values)
            )
            original = _originals_of(changed, tables, outcome.measure, model, recipe)
            _draw_stages(axis, changed, looks)
            _draw_stages(axis, original.assign(strength=none), looks, **HOLLOW)
            for stage in original.to_dict("records"):
                colour = looks[int(stage["step"])]["colour"]
                axis.axhline(stage["value"], color=colour, linewidth=0.8, linestyle=":")
            axis.set_xticks([none, *strengths], ["none", *names])
            axis.set_xlabel(label)
            outcome.dress(axis)
            tables.draw_reference(axis, outcome.measure, model)
        _head(block, tables, model, sweep.shared)
        _fill_legend_cell(block, looks, {"original": HOLLOW})
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
    figure, model_panels = _blocks(tables, len(found))
    looks = style.ordered_looks(tables.steps())
    for block, (model, recipe, sweep) in zip(model_panels, found, strict=True):
        strengths = sorted({1.0, *sweep.values.values()})
        ticks = {value: f"{value:g}" for value in strengths}
        marks = {"original": HOLLOW}
        if (best := best_resuscitation(tables, model, recipe)) is not None:
            ticks[strengths[-1] + _mean_gap(strengths)] = "FFN"
            marks[best] = DIAMOND
            figure.note(OF_FFN)
        for axis, outcome in zip(block, tables.measured(COMPARED), strict=False):
            changed = _by_strength(tables, outcome.measure, model, recipe, sweep.values)
            original = _originals_of(changed, tables, outcome.measure, model, recipe)
            original = original.assign(strength=1.0)
            _draw_stages(axis, pd.concat([original, changed]), looks)
            _draw_stages(axis, original, looks, **HOLLOW)
            if best is not None:
                woken = _by_strength(tables, outcome.measure, model, recipe, {best: max(ticks)})
                woken = woken[woken["step"].isin(changed["step"])]
                _draw_stages(axis, woken, looks, **DIAMOND)
            axis.set_xticks(list(ticks), list(ticks.values()))
            axis.set_xlabel("temperature of attention")
            outcome.dress(axis)
            tables.draw_reference(axis, outcome.measure, model)
        _head(block, tables, model, sweep.shared)
        _fill_legend_cell(block, looks, marks)
    return figure


def resuscitation_by_stage(tables: Tables) -> Drawing:
    """The same over the stages of pretraining: the original, and what was woken at most stages."""
    found = tables.main_runs(resuscitations(tables.variants))
    figure, model_panels = _blocks(tables, len(found))
    looks = style.line_looks(tables.variants)
    for block, (model, recipe) in zip(model_panels, found, strict=True):
        names = widest_resuscitations(tables, model, recipe)
        steps: list[int] = []
        for axis, outcome in zip(block, tables.measured(COMPARED), strict=False):
            original = tables.points(outcome.measure, model, recipe)
            draw_line(axis, original, **style.OF_ALL, label=ORIGINAL)
            for name in names:
                stages = tables.points(outcome.measure, model, recipe, name)
                draw_line(axis, stages, **looks[name], label=name)
            steps.extend(original["step"])
            outcome.dress(axis)
            tables.draw_reference(axis, outcome.measure, model)
        style.label_steps(block[:-1], steps)
        _head(block, tables, model)
        handles, labels = block[0].get_legend_handles_labels()
        block[-1].set_axis_off()
        block[-1].legend(handles, labels, loc="center left", title="variant")
    return figure


def widest_resuscitations(tables: Tables, model: str, recipe: str) -> list[str]:
    """Return the resuscitations that were run at the most stages of a model."""
    rows = tables.summary
    runs = rows[(rows["model"] == model) & (rows["recipe"] == recipe)]
    woken = runs[runs["variant"].isin(resuscitations(tables.variants))]
    counts = woken.groupby("variant")["step"].nunique()
    return [name for name in tables.variants if counts.get(name, 0) == counts.max()]


def best_resuscitation(tables: Tables, model: str, recipe: str) -> str | None:
    """Return the resuscitation whose K after learning is furthest above the original's.

    The mean of the difference over the stages at which attention was tempered; None when no
    resuscitation was run at any of them.
    """
    shared = {
        step
        for variant in tempered(tables.variants)
        for step in tables.points(KNOWLEDGE_AFTER, model, recipe, variant)["step"]
    }
    original = tables.points(KNOWLEDGE_AFTER, model, recipe).set_index("step")["value"]
    gains: dict[str, float] = {}
    for variant in resuscitations(tables.variants):
        stages = tables.points(KNOWLEDGE_AFTER, model, recipe, variant)
        stages = stages[stages["step"].isin(shared & set(original.index))]
        if len(stages):
            gains[variant] = (stages["value"] - stages["step"].map(original)).mean()
    return max(gains, key=lambda variant: gains[variant]) if gains else None


def _blocks(tables: Tables, num_blocks: int) -> tuple[Drawing, list[list[Axes]]]:
    num_panels = len(tables.measured(COMPARED)) + 1
    return blocks(num_blocks, num_panels, NUM_COLUMNS, row_inches=ROW_INCHES)


def _head(block: list[Axes], tables: Tables, model: str, shared: str = "") -> None:
    name = model if len(tables.models()) > 1 else ""
    head(block[0], ", ".join(filter(None, (name, shared))))


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
    block: list[Axes], looks: dict[int, dict[str, Any]], marks: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write the stages drawn in the panels, and what other marks mean, into the last cell."""
    cell = block[-1]
    cell.set_axis_off()
    shown: set[str] = {label for axis in block for label in axis.get_legend_handles_labels()[1]}
    handles = [
        Line2D([], [], color=look["colour"], marker=look["marker"], label=style.step_label(step))
        for step, look in looks.items()
        if style.step_label(step) in shown
    ]
    handles += [
        Line2D([], [], color=style.GREY, label=name, **{"marker": "o", **look})
        for name, look in marks.items()
    ]
    cell.legend(
        handles=handles, loc="center left", title="pretraining step", ncols=1 + len(handles) // 12
    )
