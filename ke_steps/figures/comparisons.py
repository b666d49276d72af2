"""Figures that compare interventions, recipes of learning, models and corpora."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing, keep
from ke_steps.figures.layout import blocks, panels, shared_legend
from ke_steps.figures.marks import draw_curve, draw_line, draw_seeds, sides
from ke_steps.figures.panels import (
    BEFORE,
    COMPARED,
    LEARNING,
    Outcome,
    Tables,
    by_step,
    head,
)
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import spread_indices

SLOT_INCHES = 0.17
MAX_SLOTS = 120
"""Points one below the other in a panel: it is two hands high."""
SHORT_TITLES = dict(zip(COMPARED, ("H", "A", "F", "K after", "P after"), strict=True))


def variants(tables: Tables) -> Drawing:
    """H, A, F and the end performances K and P by variant, at the stages that have variants."""
    runs = tables.main_runs(tables.variants)
    compared = tables.measured(COMPARED)
    places = {model: heights(tables, model) for model, _ in runs}
    num_slots = max((sum(map(len, steps.values())) for steps in places.values()), default=0)
    row_inches = max(1.8, 0.9 + SLOT_INCHES * num_slots)
    figure, axes = panels(len(runs), len(compared), row_inches=row_inches, sharey=True)
    for row, (model, recipe) in zip(axes, runs, strict=True):
        for axis, outcome in zip(row, compared, strict=True):
            _draw_outcome(axis, outcome, tables, (model, recipe), places[model])
            axis.set_title(SHORT_TITLES[outcome])
            tables.draw_reference(axis, outcome.measure, model, along="x")
        centres = [float(np.mean(list(steps.values()))) for steps in places[model].values()]
        row[0].set_yticks(centres, list(places[model]))
        row[0].set_ylim(num_slots - 0.5, -0.5)
        row[0].set_ylabel("" if len(runs) == 1 else f"{model}, {recipe}")
        known = tables.estimates[tables.estimates["variant"] != ORIGINAL]
        num_stages = known.loc[known["model"] == model, "step"].nunique()
        if (shown := len(places[model][ORIGINAL])) < num_stages:
            figure.note(f"Drawn are {shown} of {num_stages} stages; the table of variants has all.")
    shared_legend(
        figure, "pretraining step", steps=tables.steps(), loc="outside lower center", max_columns=8
    )
    return figure


def heights(tables: Tables, model: str) -> dict[str, dict[int, int]]:
    """Return by variant and step the place of a point, from 0 at the top downwards.

    The original has the steps that some variant has. Of more than ``MAX_SLOTS`` points those at
    some of the steps, spread evenly, have a place.
    """
    rows = tables.summary[tables.summary["model"] == model]
    steps = {
        name: sorted(int(step) for step in rows.loc[rows["variant"] == name, "step"].unique())
        for name in tables.variants
    }
    every = {ORIGINAL: sorted(set().union(*steps.values()))} | {k: v for k, v in steps.items() if v}
    if sum(map(len, every.values())) > MAX_SLOTS:
        stages = every[ORIGINAL]
        drawn = {stages[i] for i in spread_indices(len(stages), max(1, MAX_SLOTS // len(every)))}
        kept = {name: [step for step in own if step in drawn] for name, own in every.items()}
        every = {name: own for name, own in kept.items() if own}
    places: dict[str, dict[int, int]] = {}
    first = 0
    for name, own in every.items():
        places[name] = {step: first + number for number, step in enumerate(own)}
        first += len(own)
    return places


def _draw_outcome(
    axis: Axes,
    outcome: Outcome,
    tables: Tables,
    run: tuple[str, str],
    places: dict[str, dict[int, int]],
) -> None:
    looks = style.ordered_looks(tables.steps())
    for number, (variant, slots) in enumerate(places.items()):
        points = tables.points(outcome.measure, *run, variant)
        points = points[points["step"].isin(slots)]
        points = points.assign(place=points["step"].map(slots))
        for step, point in by_step(points):
            seeds, slot = point["seeds"].iloc[0], slots[step]
            colour, marker = looks[step]["colour"], looks[step]["marker"]
            draw_seeds(axis, seeds, [slot] * len(seeds), colour)
            axis.errorbar(
                point["value"], point["place"], xerr=sides(point), fmt=marker, color=colour,
                capsize=2, elinewidth=1, label=style.step_label(step),
            )  # fmt: skip
            keep(axis, point, "value", "place", style.step_label(step))
        if number % 2 == 0:
            ends = min(slots.values()) - 0.5, max(slots.values()) + 0.5
            axis.axhspan(*ends, color="#f4f6f8", zorder=0)
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="x", labelsize=7.5)
    axis.locator_params(axis="x", nbins=3)
    if outcome.is_fraction:
        style.percent(axis.xaxis)
    else:
        axis.set_xlabel("nats", fontsize=8)


def learning_by_recipe(tables: Tables) -> Drawing:
    """A, F and the end performances K and P by stage, a line per recipe."""
    models = [model for model in tables.models() if len(tables.recipes_of(model)) > 1]
    learning = tables.measured(LEARNING)
    figure, model_panels = blocks(len(models), len(learning), 2, row_inches=2.5)
    looks = style.line_looks(tables.recipes)
    for block, model in zip(model_panels, models, strict=True):
        recipes = tables.recipes_of(model)
        steps: set[int] = set()
        for axis, outcome in zip(block, learning, strict=True):
            if (before := BEFORE.get(outcome.measure)) is not None:
                stages = tables.points(before, model, recipes[0])
                dashed = {"linestyle": "--", "marker": "", "label": "before learning"}
                draw_line(axis, stages, style.GREY, **dashed)
                steps.update(stages["step"])
            for recipe in recipes:
                stages = tables.points(outcome.measure, model, recipe)
                draw_line(axis, stages, **looks[recipe], label=recipe)
                steps.update(stages["step"])
            outcome.dress(axis)
            tables.draw_reference(axis, outcome.measure, model)
        style.label_steps(block, steps)
        head(block[0], model if len(models) > 1 else "")
    shared_legend(figure, "recipe")
    return figure


def learning_by_model(tables: Tables) -> Drawing:
    """A, F and the end performances K and P over the course of pretraining, a line per model."""
    runs = tables.main_runs()
    learning = tables.measured(LEARNING)
    figure, (block,) = blocks(1, len(learning), 2, row_inches=2.5)
    looks = style.line_looks(model for model, _ in runs)
    last_steps = tables.summary.groupby("model")["step"].max()
    same_recipe = len({recipe for _, recipe in runs}) == 1
    for axis, outcome in zip(block, learning, strict=True):
        for model, recipe in runs:
            stages = tables.points(outcome.measure, model, recipe)
            course = stages.assign(part=stages["step"] / max(1, last_steps[model]))
            label = model if same_recipe else f"{model}, {recipe}"
            draw_line(axis, course, **looks[model], x="part", label=label)
        outcome.dress(axis)
        tables.draw_reference(axis, outcome.measure, *looks)
        axis.set_xlabel("part of the model's last step")
        style.percent(axis.xaxis)
    shared_legend(figure, "model")
    return figure


def novelty_by_corpus(tables: Tables) -> Drawing:
    """The distribution of per-document perplexity, a line per corpus, a panel per model."""
    novelty = tables.novelty
    models = list(novelty["model"].unique())
    figure, axes = panels(len(models), 1, row_inches=2.7)
    for axis, model in zip(axes[:, 0], models, strict=True):
        here = novelty[novelty["model"] == model]
        for corpus, look in style.line_looks(novelty["corpus"].unique()).items():
            curve = here[here["corpus"] == corpus]
            draw_curve(axis, curve, x="perplexity", y="quantile", **look, label=corpus)
        style.log_axis(axis.xaxis)
        style.percent(axis.yaxis)
        axis.set_title(f"{model}, step {style.step_label(here['step'].iloc[0])}")
        axis.set_xlabel("perplexity of a document")
        axis.set_ylabel("documents at or below")
    shared_legend(figure, "corpus")
    return figure
