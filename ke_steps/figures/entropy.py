"""Figures of how broadly a model uses its memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ke_steps.figures import style
from ke_steps.figures.panels import (
    Tables,
    by_step,
    change_since_first_trained,
    head,
    name_changes,
    num_trained_stages,
    spread_indices,
)
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import by_corpus, by_layer
from ke_steps.summary.quantities import ENTROPY, ENTROPY_BOUND, WHOLE_MODEL, Measure

MAX_LAYER_PANELS = 4
MAX_LEGEND_ENTRIES = 8
BY_ACTIVITY = {
    ENTROPY.quantity: "|c| (the paper's)",
    "positive_entropy_nats": "positive part of c",
    "relu_gate_entropy_nats": "ReLU as the activation",
    "contribution_entropy_nats": "contribution |c| · ‖v‖",
    "attribution_entropy_nats": "attribution |c · ∂L/∂c|",
}
TOKEN_ENTROPIES = {
    "attention_entropy_nats": ("attention entropy", "nats, summed over layers"),
    "next_token_entropy_nats": ("next-token entropy", "nats per token"),
}


def entropy_by_stage(tables: Tables) -> Figure:
    """H of the whole model by stage, with its interval; one panel per family or model."""
    courses = tables.courses(ENTROPY)
    figure, (axes,) = style.blocks(1, len(courses), min(2, len(courses)), row_inches=3.1)
    for axis, (name, model, stages) in zip(axes, courses, strict=True):
        bound = tables.points(ENTROPY_BOUND, model)["value"].iloc[0]
        style.draw_line(axis, stages, style.BEFORE)
        style.note_gaps(axis, stages)
        untrained = stages[~stages["is_trained"]]
        axis.plot(untrained["step"], untrained["value"], "o", mfc="white", mec=style.BEFORE)
        axis.set_title(name)
        axis.set_ylabel("H (nats)")
        axis.margins(y=0.15)
        style.label_steps(axis, list(stages["step"]))
        note = f"upper bound L·ln m = {bound:.2f} nats"
        axis.annotate(
            note, (1, 1), xycoords="axes fraction", xytext=(0, 4), textcoords="offset points",
            ha="right", va="bottom", color=style.GREY, fontsize=8,
        )  # fmt: skip
    return figure


def entropy_by_layer(tables: Tables) -> Figure:
    """H over the depth of the model, and its change since the first trained stage."""
    models = tables.models()
    summary = tables.summary
    has_change = num_trained_stages(tables) > 1
    figure, axes = style.panels(len(models), 2 if has_change else 1, row_inches=3.3)
    for row, model in zip(axes, models, strict=True):
        entropies = by_layer(summary[summary["model"] == model], ENTROPY.quantity)
        layers = {layer: tables.points(entropy, model) for layer, entropy in entropies.items()}
        _draw_depth(row[0], layers, style.stage_colours(tables.steps()))
        row[0].set_title(model)
        if has_change:
            _draw_changes(row[1], layers)
    return figure


def _draw_depth(axis: Axes, layers: dict[int, pd.DataFrame], colours: dict[int, Any]) -> None:
    every = pd.concat([stages.assign(layer=layer) for layer, stages in layers.items()])
    for step in sorted(every["step"].unique()):
        stage = every[every["step"] == step]
        label = f"step {step:,}"
        style.draw_line(axis, stage, colours[step], x="layer", label=label, markersize=3.5)
    axis.set_xlabel("layer")
    axis.set_ylabel("H of a layer (nats)")
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    style.legend_below(axis, 3)


def _draw_changes(axis: Axes, layers: dict[int, pd.DataFrame]) -> None:
    colours = sns.color_palette("viridis_r", len(layers) + 1)[1:]
    numbers = list(layers)
    labelled = {numbers[i] for i in spread_indices(len(numbers), MAX_LEGEND_ENTRIES)}
    for (layer, stages), colour in zip(layers.items(), colours, strict=True):
        change = change_since_first_trained(stages)
        label = f"layer {layer}" if layer in labelled else None
        style.draw_line(axis, change, colour, label=label, markersize=3.5)
    name_changes(axis, stages, "ΔH (nats)")
    style.legend_below(axis, 4)


def attention_and_next_token_entropy(tables: Tables) -> Figure:
    """Entropy of the attention rows and of the predictive distribution, by stage."""
    measured = _measured(tables, TOKEN_ENTROPIES)
    models = [
        model
        for model in tables.models()
        if any(len(tables.points(entropy, model)) for entropy in measured)
    ]
    figure, axes = style.panels(len(models), len(measured))
    for row, model in zip(axes, models, strict=True):
        for axis, entropy in zip(row, measured, strict=True):
            stages = tables.points(entropy, model)
            style.draw_line(axis, stages, style.BEFORE)
            name, unit = TOKEN_ENTROPIES[entropy.quantity]
            axis.set_title(name if len(models) == 1 else f"{model} · {name}")
            axis.set_ylabel(unit)
            axis.margins(y=0.15)
            style.label_steps(axis, list(stages["step"]))
    return figure


def entropy_by_corpus(tables: Tables) -> Figure:
    """H of the whole model by stage, a line per corpus, and its change since the first stage."""
    found = by_corpus(tables.summary, ENTROPY.quantity)
    looks = style.line_looks(dict.fromkeys([*tables.main_corpora.values(), *filter(None, found)]))
    models = tables.models()
    has_change = num_trained_stages(tables) > 1
    figure, axes = style.panels(len(models), 2 if has_change else 1)
    for row, model in zip(axes, models, strict=True):
        for other, entropy in found.items():
            stages = tables.points(entropy, model)
            if stages.empty:  # on a corpus that is the main one of this model
                continue
            corpus = other or tables.main_corpora[model]
            look = looks[corpus]
            style.draw_line(row[0], stages, **look, label=corpus)
            if has_change:
                style.draw_line(row[1], change_since_first_trained(stages), **look)
        stages = tables.points(ENTROPY, model)
        row[0].set_title(model)
        row[0].set_ylabel("H (nats)")
        style.label_steps(row[0], list(stages["step"]))
        if has_change:
            name_changes(row[1], stages, "ΔH (nats)")
    style.shared_legend(figure, "corpus")
    return figure


def entropy_by_measure(tables: Tables) -> Figure:
    """The entropy of every coefficient measure, each on its own scale, and all their changes."""
    measured = _measured(tables, BY_ACTIVITY)
    has_change = num_trained_stages(tables) > 1
    num_panels = len(measured) + has_change
    num_columns = 2 if num_panels <= 4 else 3
    models = tables.models()
    figure, blocks = style.blocks(len(models), num_panels, num_columns, row_inches=2.5)
    for block, model in zip(blocks, models, strict=True):
        looks = style.line_looks(entropy.quantity for entropy in measured)
        for axis, entropy in zip(block, measured, strict=False):
            stages, look = tables.points(entropy, model), looks[entropy.quantity]
            style.draw_line(axis, stages, **look)
            style.note_gaps(axis, stages)
            axis.set_title(BY_ACTIVITY[entropy.quantity])
            axis.set_ylabel("entropy (nats)")
            axis.margins(y=0.15)
            style.label_steps(axis, list(stages["step"]))
            if has_change:
                change = change_since_first_trained(stages, relative=True)
                style.draw_line(block[-1], change, **look)
        if has_change:
            name_changes(block[-1], stages, "of its value then")
            style.percent(block[-1].yaxis)
        head(block[0], model if len(models) > 1 else "")
    return figure


def _measured(tables: Tables, quantities: Iterable[str]) -> list[Measure]:
    """Return those of the quantities that were measured on whole models."""
    known = set(tables.summary["quantity"].unique())
    return [Measure(name, WHOLE_MODEL) for name in quantities if name in known]


def coefficient_distributions(tables: Tables) -> Figure:
    """The quantile function of mean |c| by stage, for up to four layers spread over the depth."""
    models = tables.models()
    data = tables.distributions[tables.distributions["variant"] == ORIGINAL]
    layers = {model: sorted(data.loc[data["model"] == model, "layer"].unique()) for model in models}
    num_panels = min(MAX_LAYER_PANELS, max(map(len, layers.values())))
    figure, axes = style.panels(len(models), num_panels, row_inches=2.7, sharey="row", sharex=True)
    colours = style.stage_colours(tables.steps())
    for row, model in zip(axes, models, strict=True):
        shown = [layers[model][i] for i in spread_indices(len(layers[model]), num_panels)]
        for axis in row[len(shown) :]:
            axis.remove()
        for axis, layer in zip(row, shown, strict=False):
            here = data[(data["model"] == model) & (data["layer"] == layer)]
            for step, curve in by_step(here):
                label = style.step_label(step)
                axis.plot(
                    curve["quantile"], curve["relative_activity"], color=colours[step], label=label
                )
            axis.axhline(1, color=style.GREY, linewidth=0.8, linestyle=":")
            style.log_axis(axis.yaxis)
            axis.set_title(f"layer {layer}" if len(models) == 1 else f"{model}, layer {layer}")
            style.percent(axis.xaxis)
        row[0].set_ylabel("mean |c| / layer's mean")
    figure.supxlabel("memories, least active first", fontsize=9)
    style.shared_legend(figure, "step", steps=tables.steps())
    return figure
