"""Figures of other entropies, other measures of activity, and other corpora."""

from __future__ import annotations

from matplotlib.figure import Figure

from ke_steps import _style
from ke_steps._figure_data import Tables, group_names, points
from ke_steps._figure_panels import (
    change_since_first_trained,
    head,
    name_changes,
    num_trained_stages,
)

MEASURES = {
    "entropy_nats": "|c| (the paper's)",
    "positive_entropy_nats": "positive part of c",
    "relu_gate_entropy_nats": "ReLU as the activation",
    "contribution_entropy_nats": "contribution |c| · ‖v‖",
    "attribution_entropy_nats": "attribution |c · ∂L/∂c|",
}
TOKEN_ENTROPIES = {
    "attention_entropy_nats": ("attention entropy", "nats, summed over layers"),
    "next_token_entropy_nats": ("next-token entropy", "nats per token"),
}


def attention_and_next_token_entropy(tables: Tables) -> Figure:
    """Entropy of the attention rows and of the predictive distribution, by stage."""
    measured = [name for name in TOKEN_ENTROPIES if group_names(tables.summary, name)]
    models = [
        model
        for model in tables.models()
        if any(len(points(tables.summary, model, name, "model")) for name in measured)
    ]
    figure, axes = _style.panels(len(models), len(measured))
    for row, model in zip(axes, models, strict=True):
        for axis, quantity in zip(row, measured, strict=True):
            stages = points(tables.summary, model, quantity, "model")
            _style.draw_line(axis, stages, _style.BEFORE)
            name, unit = TOKEN_ENTROPIES[quantity]
            axis.set_title(name if len(models) == 1 else f"{model} · {name}")
            axis.set_ylabel(unit)
            axis.margins(y=0.15)
            _style.label_steps(axis, list(stages["step"]))
    return figure


def entropy_by_corpus(tables: Tables) -> Figure:
    """H of the whole model by stage, a line per corpus, and its change since the first stage."""
    others = [name for name in group_names(tables.summary, "entropy_nats") if "/model" in name]
    groups = {tables.corpus: "model"} | {name.removesuffix("/model"): name for name in others}
    models = tables.models()
    has_change = num_trained_stages(tables) > 1
    figure, axes = _style.panels(len(models), 2 if has_change else 1)
    for row, model in zip(axes, models, strict=True):
        for corpus, look in _style.line_looks(groups).items():
            stages = points(tables.summary, model, "entropy_nats", groups[corpus])
            _style.draw_line(row[0], stages, **look, label=corpus)
            if has_change:
                _style.draw_line(row[1], change_since_first_trained(stages), **look)
        stages = points(tables.summary, model, "entropy_nats", "model")
        row[0].set_title(model)
        row[0].set_ylabel("H (nats)")
        _style.label_steps(row[0], list(stages["step"]))
        if has_change:
            name_changes(row[1], stages, "ΔH (nats)")
    _style.shared_legend(figure, "corpus")
    return figure


def entropy_by_measure(tables: Tables) -> Figure:
    """The entropy of every coefficient measure, each on its own scale, and all their changes."""
    measured = [name for name in MEASURES if group_names(tables.summary, name)]
    has_change = num_trained_stages(tables) > 1
    num_panels = len(measured) + has_change
    num_columns = 2 if num_panels <= 4 else 3
    models = tables.models()
    figure, blocks = _style.blocks(len(models), num_panels, num_columns, row_inches=2.5)
    for block, model in zip(blocks, models, strict=True):
        for axis, (quantity, look) in zip(block, _style.line_looks(measured).items(), strict=False):
            stages = points(tables.summary, model, quantity, "model")
            _style.draw_line(axis, stages, **look)
            axis.set_title(MEASURES[quantity])
            axis.set_ylabel("entropy (nats)")
            axis.margins(y=0.15)
            _style.label_steps(axis, list(stages["step"]))
            if has_change:
                change = change_since_first_trained(stages, relative=True)
                _style.draw_line(block[-1], change, **look)
        if has_change:
            name_changes(block[-1], stages, "of its value then")
            _style.percent(block[-1].yaxis)
        head(block[0], model if len(models) > 1 else "")
    return figure


def novelty_by_corpus(tables: Tables) -> Figure:
    """The distribution of per-document perplexity, a line per corpus, a panel per model."""
    novelty = tables.novelty
    models = list(novelty["model"].unique())
    figure, axes = _style.panels(len(models), 1, row_inches=2.7)
    for axis, model in zip(axes[:, 0], models, strict=True):
        here = novelty[novelty["model"] == model]
        for corpus, look in _style.line_looks(novelty["corpus"].unique()).items():
            curve = here[here["corpus"] == corpus]
            axis.plot(curve["perplexity"], curve["quantile"], color=look["colour"], label=corpus)
        _style.log_axis(axis.xaxis)
        _style.percent(axis.yaxis)
        axis.set_title(f"{model}, step {_style.step_label(here['step'].iloc[0])}")
        axis.set_xlabel("perplexity of a document")
        axis.set_ylabel("documents at or below")
    _style.shared_legend(figure, "corpus")
    return figure
