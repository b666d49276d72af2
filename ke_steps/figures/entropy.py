"""Figures of how broadly a model uses its memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing
from ke_steps.figures.layout import MAX_LEGEND_STEPS, blocks, legend_below, panels, shared_legend
from ke_steps.figures.marks import REFERENCE, draw_curve, draw_line, note_gaps
from ke_steps.figures.panels import (
    Tables,
    by_step,
    change_since_first_trained,
    head,
    name_changes,
    num_trained_stages,
)
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import by_corpus, by_layer, spread_indices
from ke_steps.summary.quantities import ENTROPY, WHOLE_MODEL, Measure

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


def entropy_by_stage(tables: Tables) -> Drawing:
    """H of the whole model by stage, with its interval; one panel per family or model."""
    courses = tables.courses(ENTROPY)
    figure, (axes,) = blocks(1, len(courses), min(2, len(courses)), row_inches=3.1)
    for axis, (name, model, stages) in zip(axes, courses, strict=True):
        draw_line(axis, stages, style.BEFORE)
        note_gaps(axis, stages)
        untrained = stages[~stages["is_trained"]]
        axis.plot(untrained["step"], untrained["value"], "o", mfc="white", mec=style.BEFORE)
        if len(untrained):
            figure.note("A hollow point is the untrained model.")
        axis.set_title(name)
        axis.set_ylabel("H (nats)")
        axis.margins(y=0.15)
        style.label_steps([axis], stages["step"])
        tables.draw_reference(axis, ENTROPY, model)
    return figure


def entropy_by_layer(tables: Tables) -> Drawing:
    """H over the depth of the model, and its change since the first trained stage."""
    models = tables.models()
    summary = tables.summary
    has_change = num_trained_stages(tables) > 1
    figure, axes = panels(len(models), 2 if has_change else 1, row_inches=3.3)
    for row, model in zip(axes, models, strict=True):
        entropies = by_layer(summary[summary["model"] == model], ENTROPY.quantity)
        layers = {layer: tables.points(entropy, model) for layer, entropy in entropies.items()}
        _draw_depth(row[0], layers, style.ordered_looks(tables.steps()))
        row[0].set_title(model)
        if has_change:
            _draw_changes(row[1], layers)
    return figure


def _draw_depth(
    axis: Axes, layers: dict[int, pd.DataFrame], looks: dict[int, dict[str, Any]]
) -> None:
    every = pd.concat([stages.assign(layer=layer) for layer, stages in layers.items()])
    steps = sorted(every["step"].unique())
    labelled = {steps[i] for i in spread_indices(len(steps), MAX_LEGEND_STEPS)}
    for step, stage in by_step(every):
        label = f"step {step:,}" if step in labelled else None
        draw_line(axis, stage, **looks[step], x="layer", label=label, markersize=3.5)
    axis.set_xlabel("layer")
    axis.set_ylabel("H of a layer (nats)")
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    legend_below(axis, 3)


def _draw_changes(axis: Axes, layers: dict[int, pd.DataFrame]) -> None:
    looks = style.ordered_looks(layers)
    numbers = list(layers)
    labelled = {numbers[i] for i in spread_indices(len(numbers), MAX_LEGEND_ENTRIES)}
    for layer, stages in layers.items():
        change = change_since_first_trained(stages).assign(layer=layer)
        label = f"layer {layer}" if layer in labelled else None
        draw_line(axis, change, **looks[layer], label=label, markersize=3.5)
    name_changes(axis, stages, "ΔH (nats)")
    style.label_steps([axis], stages.loc[stages["is_trained"], "step"])
    legend_below(axis, 4)


def attention_and_next_token_entropy(tables: Tables) -> Drawing:
    """Entropy of the attention rows and of the predictive distribution, by stage."""
    measured = _measured(tables, TOKEN_ENTROPIES)
    models = [
        model
        for model in tables.models()
        if any(len(tables.points(entropy, model)) for entropy in measured)
    ]
    figure, axes = panels(len(models), len(measured))
    for row, model in zip(axes, models, strict=True):
        steps: list[int] = []
        for axis, entropy in zip(row, measured, strict=True):
            stages = tables.points(entropy, model)
            draw_line(axis, stages, style.BEFORE)
            name, unit = TOKEN_ENTROPIES[entropy.quantity]
            axis.set_title(name if len(models) == 1 else f"{model} · {name}")
            axis.set_ylabel(unit)
            axis.margins(y=0.15)
            steps.extend(stages["step"])
        style.label_steps(row, steps)
    return figure


def entropy_by_corpus(tables: Tables) -> Drawing:
    """H of the whole model by stage, a line per corpus, and its change since the first stage."""
    found = by_corpus(tables.summary, ENTROPY.quantity)
    looks = style.line_looks(dict.fromkeys([*tables.main_corpora.values(), *filter(None, found)]))
    models = tables.models()
    has_change = num_trained_stages(tables) > 1
    figure, axes = panels(len(models), 2 if has_change else 1)
    for row, model in zip(axes, models, strict=True):
        for other, entropy in found.items():
            stages = tables.points(entropy, model)
            if stages.empty:  # on a corpus that is the main one of this model
                continue
            corpus = other or tables.main_corpora[model]
            look, stages = looks[corpus], stages.assign(corpus=corpus)
            draw_line(row[0], stages, **look, label=corpus)
            if has_change:
                draw_line(row[1], change_since_first_trained(stages), **look)
        stages = tables.points(ENTROPY, model)
        row[0].set_title(model)
        row[0].set_ylabel("H (nats)")
        if has_change:
            name_changes(row[1], stages, "ΔH (nats)")
        style.label_steps(row, stages["step"])
        tables.draw_reference(row[0], ENTROPY, model)
    shared_legend(figure, "corpus")
    return figure


def entropy_by_measure(tables: Tables) -> Drawing:
    """The entropy of every coefficient measure, each on its own scale, and all their changes."""
    measured = _measured(tables, BY_ACTIVITY)
    has_change = num_trained_stages(tables) > 1
    num_panels = len(measured) + has_change
    models = tables.models()
    figure, model_panels = blocks(
        len(models), num_panels, 2 if num_panels <= 4 else 3, row_inches=2.5
    )
    for block, model in zip(model_panels, models, strict=True):
        looks = style.line_looks(entropy.quantity for entropy in measured)
        for axis, entropy in zip(block, measured, strict=False):
            stages, look = tables.points(entropy, model), looks[entropy.quantity]
            draw_line(axis, stages, **look)
            note_gaps(axis, stages)
            axis.set_title(BY_ACTIVITY[entropy.quantity])
            axis.set_ylabel("entropy (nats)")
            axis.margins(y=0.15)
            if has_change:
                change = change_since_first_trained(stages, relative=True)
                draw_line(block[-1], change.assign(unit="fraction"), **look)
        if has_change:
            name_changes(block[-1], stages, "of its value then")
            style.percent(block[-1].yaxis)
        style.label_steps(block, stages["step"])
        head(block[0], model if len(models) > 1 else "")
    return figure


def _measured(tables: Tables, quantities: Iterable[str]) -> list[Measure]:
    """Return those of the quantities that were measured on whole models."""
    known = set(tables.summary["quantity"].unique())
    return [Measure(name, WHOLE_MODEL) for name in quantities if name in known]


def coefficient_distributions(tables: Tables) -> Drawing:
    """The quantile function of mean |c| by stage, for up to four layers spread over the depth."""
    models = tables.models()
    data = tables.distributions[tables.distributions["variant"] == ORIGINAL]
    layers = {model: sorted(data.loc[data["model"] == model, "layer"].unique()) for model in models}
    num_panels = min(MAX_LAYER_PANELS, max(map(len, layers.values())))
    figure, axes = panels(len(models), num_panels, row_inches=2.7, sharey=True, sharex=True)
    looks = style.ordered_looks(tables.steps())
    for row, model in zip(axes, models, strict=True):
        shown = [layers[model][i] for i in spread_indices(len(layers[model]), num_panels)]
        for axis in row[len(shown) :]:
            axis.remove()
        for axis, layer in zip(row, shown, strict=False):
            here = data[(data["model"] == model) & (data["layer"] == layer)]
            for step, curve in by_step(here):
                label = style.step_label(step)
                draw_curve(
                    axis, curve, x="quantile", y="relative_activity", **looks[step], label=label
                )
            axis.axhline(1, **REFERENCE)
            style.log_axis(axis.yaxis)
            axis.set_title(f"layer {layer}" if len(models) == 1 else f"{model}, layer {layer}")
            style.percent(axis.xaxis)
        row[0].set_ylabel("mean |c| / layer's mean")
    for axis in axes[-1]:
        axis.set_xlabel("memories, least active first")
    shared_legend(figure, "step", steps=tables.steps())
    return figure
