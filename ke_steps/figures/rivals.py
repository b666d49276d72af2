"""The figure of what else could explain how checkpoints learn and forget, beside their entropy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing
from ke_steps.figures.layout import blocks, shared_legend
from ke_steps.figures.marks import draw_line
from ke_steps.figures.panels import Outcome, Tables
from ke_steps.summary.points import group_names
from ke_steps.summary.quantities import (
    EARLY_LOSS_FALL,
    ENTROPY,
    GRADIENT_NORM,
    HELD_OUT_LOSS,
    PARTICIPATION_RATIO,
    SENSITIVITY,
    WEIGHT_NORM,
    WHOLE_MODEL,
    Measure,
)

NUM_COLUMNS = 4


def rivals_by_stage(tables: Tables) -> Drawing:
    """H and its rivals by stage, a panel each; a line per family, and per model that is in none."""
    outcomes = tables.measured(_outcomes(tables))
    figure, (axes,) = blocks(1, len(outcomes), NUM_COLUMNS, row_inches=2.3)
    names = [name for name, *_ in tables.courses(ENTROPY)]
    looks = style.line_looks(names)
    steps: set[int] = set()
    for axis, outcome in zip(axes, outcomes, strict=True):
        for name, stages in _courses(tables, outcome.measure):
            draw_line(axis, stages, **looks[name], label=name, markersize=3.5)
            steps |= set(stages["step"])
        outcome.dress(axis)
    style.label_steps(axes, steps)
    if len(names) > 1:
        shared_legend(figure, None, loc="outside lower center", max_columns=4)
    return figure


def _outcomes(tables: Tables) -> list[Outcome]:
    """Return what the panels show; of several scales of noise the first."""
    scale = group_names(tables.summary, SENSITIVITY)[0]
    gamma = scale.removeprefix(f"{WHOLE_MODEL} ")
    return [
        Outcome("knowledge entropy", "H (nats)", ENTROPY),
        Outcome("dormant, τ = 0.025", "memories", Measure("dormant_at_0.025", WHOLE_MODEL)),
        Outcome("participation ratio", "of E[c cᵀ]", PARTICIPATION_RATIO),
        Outcome("weights", "‖θ‖", WEIGHT_NORM),
        Outcome("gradient, new text", "‖∇L‖", GRADIENT_NORM),
        Outcome("held-out text", "loss (nats)", HELD_OUT_LOSS),
        Outcome(f"sensitivity, {gamma}", "ΔL (nats)", Measure(SENSITIVITY, scale)),
        Outcome("first five steps", "fall of the loss (nats)", EARLY_LOSS_FALL),
    ]


def _courses(tables: Tables, measure: Measure) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (family or model, points); what learning shows, with each model's main recipe."""
    if measure != EARLY_LOSS_FALL:
        yield from ((name, stages) for name, _, stages in tables.courses(measure))
        return
    recipes = dict(tables.main_runs())
    families = tables.families.drop_duplicates("family").set_index("family")["models"]
    for name, model, _ in tables.courses(ENTROPY):
        models = [each for each in families.get(name, [model]) if each in recipes]
        if models:
            stages = _mean([tables.points(measure, each, recipes[each]) for each in models])
            yield name, stages.assign(quantity=measure.quantity, group=measure.group)


def _mean(models: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the points of a model as they are; of several their means, with theirs as dots."""
    if len(models) == 1:
        return models[0]
    by_step = pd.concat(models).groupby(["step", "is_trained"])["value"]
    stages = by_step.agg(value="mean", seeds=list).reset_index()
    return stages.assign(low=math.nan, high=math.nan)
