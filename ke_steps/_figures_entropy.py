"""Figures of how broadly a model uses its memory."""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ke_steps import _style
from ke_steps._figure_data import Tables, points
from ke_steps._figure_panels import (
    by_step,
    change_since_first_trained,
    name_changes,
    num_trained_stages,
    spread_indices,
)
from ke_steps.settings import ORIGINAL

MAX_LAYER_PANELS = 4
MAX_LEGEND_ENTRIES = 8


def entropy_by_stage(tables: Tables) -> Figure:
    """H of the whole model by stage, with its bootstrap interval; one panel per model."""
    models = tables.models()
    figure, (axes,) = _style.blocks(1, len(models), min(2, len(models)), row_inches=3.1)
    for axis, model in zip(axes, models, strict=True):
        stages = points(tables.summary, model, "entropy_nats", "model")
        bound = points(tables.summary, model, "entropy_bound_nats", "model")["value"].iloc[0]
        _style.draw_line(axis, stages, _style.BEFORE)
        untrained = stages[stages["step"] == 0]
        axis.plot(untrained["step"], untrained["value"], "o", mfc="white", mec=_style.BEFORE)
        axis.set_title(model)
        axis.set_ylabel("H (nats)")
        axis.margins(y=0.15)
        _style.label_steps(axis, list(stages["step"]))
        note = f"upper bound L·ln m = {bound:.2f} nats"
        axis.annotate(
            note, (1, 1), xycoords="axes fraction", xytext=(0, 4), textcoords="offset points",
            ha="right", va="bottom", color=_style.GREY, fontsize=8,
        )  # fmt: skip
    return figure


def entropy_by_layer(tables: Tables) -> Figure:
    """H over the depth of the model, and its change since the first trained stage."""
    models = tables.models()
    summary = tables.summary
    has_change = num_trained_stages(tables) > 1
    figure, axes = _style.panels(len(models), 2 if has_change else 1, row_inches=3.3)
    for row, model in zip(axes, models, strict=True):
        rows = summary[(summary["model"] == model) & (summary["quantity"] == "entropy_nats")]
        groups = [group for group in rows["group"].unique() if group.startswith("layer ")]
        by_layer = {group: points(summary, model, "entropy_nats", group) for group in groups}
        _draw_depth(row[0], by_layer, _style.stage_colours(tables.steps()))
        row[0].set_title(model)
        if has_change:
            _draw_changes(row[1], by_layer)
    return figure


def _draw_depth(axis: Axes, by_layer: dict[str, pd.DataFrame], colours: dict[int, Any]) -> None:
    layers = [int(name.removeprefix("layer ")) for name in by_layer]
    every = pd.concat([s.assign(layer=n) for n, s in zip(layers, by_layer.values(), strict=True)])
    for step in sorted(every["step"].unique()):
        stage = every[every["step"] == step]
        label = f"step {step:,}"
        _style.draw_line(axis, stage, colours[step], x="layer", label=label, markersize=3.5)
    axis.set_xlabel("layer")
    axis.set_ylabel("H of a layer (nats)")
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _style.legend_below(axis, 3)


def _draw_changes(axis: Axes, by_layer: dict[str, pd.DataFrame]) -> None:
    colours = sns.color_palette("viridis_r", len(by_layer) + 1)[1:]
    names = list(by_layer)
    labelled = {names[i] for i in spread_indices(len(names), MAX_LEGEND_ENTRIES)}
    for (name, stages), colour in zip(by_layer.items(), colours, strict=True):
        change = change_since_first_trained(stages)
        label = name if name in labelled else None
        _style.draw_line(axis, change, colour, label=label, markersize=3.5)
    name_changes(axis, stages, "ΔH (nats)")
    _style.legend_below(axis, 4)


def coefficient_distributions(tables: Tables) -> Figure:
    """The quantile function of mean |c| by stage, for up to four layers spread over the depth."""
    models = tables.models()
    data = tables.distributions[tables.distributions["variant"] == ORIGINAL]
    layers = {model: sorted(data.loc[data["model"] == model, "layer"].unique()) for model in models}
    num_panels = min(MAX_LAYER_PANELS, max(map(len, layers.values())))
    figure, axes = _style.panels(len(models), num_panels, row_inches=2.7, sharey="row", sharex=True)
    colours = _style.stage_colours(tables.steps())
    for row, model in zip(axes, models, strict=True):
        shown = [layers[model][i] for i in spread_indices(len(layers[model]), num_panels)]
        for axis in row[len(shown) :]:
            axis.remove()
        for axis, layer in zip(row, shown, strict=False):
            here = data[(data["model"] == model) & (data["layer"] == layer)]
            for step, curve in by_step(here):
                label = _style.step_label(step)
                axis.plot(
                    curve["quantile"], curve["relative_activity"], color=colours[step], label=label
                )
            axis.axhline(1, color=_style.GREY, linewidth=0.8, linestyle=":")
            _style.log_axis(axis.yaxis)
            axis.set_title(f"layer {layer}" if len(models) == 1 else f"{model}, layer {layer}")
            _style.percent(axis.xaxis)
        row[0].set_ylabel("mean |c| / layer's mean")
    figure.supxlabel("memories, least active first", fontsize=9)
    _style.shared_legend(figure, "step", steps=tables.steps())
    return figure
