"""Figures of single memories: which ones learning rewrites, and which ones stay active."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing, keep
from ke_steps.figures.layout import blocks, legend_beside, panels, shared_legend
from ke_steps.figures.marks import draw_line, draw_zero
from ke_steps.figures.panels import Tables, by_step
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import by_layer, spread_indices
from ke_steps.summary.quantities import VECTORS, WHOLE_MODEL, Measure

RANKINGS = {
    "spearman": ("rank correlation", "Spearman's ρ"),
    "most_active_kept": ("most active set", "share that stays in it"),
    "least_active_kept": ("least active set", "share that stays in it"),
}
MAX_LEGEND_LAYERS = 8


def update_map(tables: Tables) -> Drawing:
    """How evenly learning rewrites memories, by stage; whether it rewrites the active ones."""
    runs = tables.main_runs()
    figure, model_panels = blocks(
        len(runs), 2 * len(VECTORS), len(VECTORS), row_inches=2.6, sharey=True
    )
    for block, run in zip(model_panels, runs, strict=True):
        spreads, correlations = block[: len(VECTORS)], block[len(VECTORS) :]
        for spread, correlation, vector in zip(spreads, correlations, VECTORS, strict=True):
            spread.set_title(style.title(VECTORS[vector], *run, runs))
            _draw_update_entropy(spread, tables, run, f"{vector}_update_entropy_nats")
            _draw_by_depth(correlation, tables, run, f"{vector}_update_correlation_spearman")
        spreads[0].set_ylabel("entropy of ‖Δ‖ (nats)")
        correlations[0].set_ylabel("ρ of ‖Δ‖ and mean |c|")
        if len(spreads[-1].get_legend_handles_labels()[1]) > 1:
            legend_beside(spreads[-1], "variant")
        legend_beside(correlations[-1], "pretraining\nstep")
    return figure


def _draw_update_entropy(axis: Axes, tables: Tables, run: tuple[str, str], quantity: str) -> None:
    entropy = Measure(quantity, WHOLE_MODEL)
    looks = {ORIGINAL: style.OF_ALL, **style.line_looks(tables.variants)}
    for variant, look in looks.items():
        stages = tables.points(entropy, *run, variant)
        if len(stages):
            draw_line(axis, stages, **look, label=variant)
    style.label_steps([axis], tables.points(entropy, *run)["step"])


def _draw_by_depth(axis: Axes, tables: Tables, run: tuple[str, str], quantity: str) -> None:
    layers = pd.concat(
        tables.points(measure, *run).assign(layer=layer)
        for layer, measure in by_layer(tables.summary, quantity).items()
    )
    looks = style.ordered_looks(tables.steps())
    for step, stage in by_step(layers):
        label = style.step_label(step)
        draw_line(axis, stage, **looks[step], x="layer", label=label, markersize=3.5)
    draw_zero(axis)
    axis.set_xlabel("layer")
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def ranking_changes(tables: Tables) -> Drawing:
    """How the ranking of memories by activity moves from each stage to the next."""
    rankings = consecutive(tables.rankings)
    models = [model for model in tables.models() if model in set(rankings["model"])]
    figure, axes = panels(len(models), len(RANKINGS))
    for row, model in zip(axes, models, strict=True):
        here = rankings[rankings["model"] == model]
        mean = here[here["layer"].isna()]
        layers = sorted(int(layer) for layer in here["layer"].dropna().unique())
        looks = style.ordered_looks(layers)
        labelled = {layers[i] for i in spread_indices(len(layers), MAX_LEGEND_LAYERS)}
        for axis, (column, (name, unit)) in zip(row, RANKINGS.items(), strict=True):
            told = ["model", "layer", "step_from", "step_to", column]
            for layer, look in looks.items():
                one = here.loc[here["layer"] == layer, told]
                label = f"layer {layer}" if layer in labelled else None
                thin = {"color": look["colour"], "marker": look["marker"], "markersize": 3}
                axis.plot(one["step_to"], one[column], linewidth=0.9, **thin, label=label)
                keep(axis, one, "step_to", column, f"layer {layer}")
            bold = {"color": style.INK, "marker": "p", "label": "mean over layers"}
            axis.plot(mean["step_to"], mean[column], **bold)
            keep(axis, mean[told], "step_to", column, bold["label"])
            axis.set_title(name if len(models) == 1 else f"{model} · {name}")
            axis.set_ylabel(unit)
            if column != "spearman":
                style.percent(axis.yaxis)
        style.label_steps(row, mean["step_to"])
    shared_legend(figure, None, loc="outside lower center", max_columns=5)
    return figure


def consecutive(rankings: pd.DataFrame) -> pd.DataFrame:
    """Return the rows from each stage to the next one, without those over several stages."""
    nearest = rankings.groupby(["model", "step_to"])["step_from"].transform("max")
    return rankings[rankings["step_from"] == nearest].drop_duplicates(
        ["model", "step_from", "step_to", "layer"]
    )
