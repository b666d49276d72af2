"""Figures that compare recipes of learning, and models."""

from __future__ import annotations

from matplotlib.figure import Figure

from ke_steps import _style
from ke_steps._figure_data import Tables, points
from ke_steps._figure_panels import LEARNING, head

BEFORE = {"performance_after": "performance_before", "accuracy_after": "accuracy_before"}
"""What an end performance is to be compared with."""


def learning_by_recipe(tables: Tables) -> Figure:
    """A, F and the end performances K and P by stage, a line per recipe."""
    models = [model for model in tables.models() if len(tables.recipes_of(model)) > 1]
    figure, blocks = _style.blocks(len(models), len(LEARNING), 2, row_inches=2.5)
    looks = _style.line_looks(tables.recipes)
    for block, model in zip(blocks, models, strict=True):
        recipes = tables.recipes_of(model)
        for axis, outcome in zip(block, LEARNING, strict=True):
            if (before := BEFORE.get(outcome.quantity)) is not None:
                first = recipes[0] if before == "performance_before" else None
                stages = points(tables.summary, model, before, outcome.group, first)
                style = {"linestyle": "--", "marker": "", "label": "before learning"}
                _style.draw_line(axis, stages, _style.GREY, **style)
            steps: set[int] = set()
            for recipe in recipes:
                stages = outcome.points(tables, model, recipe)
                _style.draw_line(axis, stages, **looks[recipe], label=recipe)
                steps.update(stages["step"])
            _style.label_steps(axis, sorted(steps))
            outcome.dress(axis)
        head(block[0], model if len(models) > 1 else "")
    _style.shared_legend(figure, "recipe")
    return figure


def learning_by_model(tables: Tables) -> Figure:
    """A, F and the end performances K and P over the course of pretraining, a line per model."""
    runs = tables.main_runs()
    figure, (block,) = _style.blocks(1, len(LEARNING), 2, row_inches=2.5)
    looks = _style.line_looks(model for model, _ in runs)
    last_steps = tables.summary.groupby("model")["step"].max()
    same_recipe = len({recipe for _, recipe in runs}) == 1
    for axis, outcome in zip(block, LEARNING, strict=True):
        for model, recipe in runs:
            stages = outcome.points(tables, model, recipe)
            course = stages.assign(x=stages["step"] / max(1, last_steps[model]))
            label = model if same_recipe else f"{model}, {recipe}"
            _style.draw_line(axis, course, **looks[model], x="x", label=label)
        outcome.dress(axis)
        axis.set_xlabel("part of the model's last step")
        _style.percent(axis.xaxis)
    _style.shared_legend(figure, "model")
    return figure
