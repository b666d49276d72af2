"""The figure of resuscitation over the stages, and which resuscitations figures single out."""

from __future__ import annotations

from matplotlib.axes import Axes

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing
from ke_steps.figures.layout import blocks
from ke_steps.figures.marks import draw_line
from ke_steps.figures.panels import COMPARED, Tables, head
from ke_steps.figures.sweeps import resuscitations, tempered
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import spread_indices
from ke_steps.summary.quantities import KNOWLEDGE_AFTER

NUM_COLUMNS = 3
"""Five outcomes leave the sixth cell of a block to its legend."""
ROW_INCHES = 2.4
MAX_LINES = 8
"""More variants, or stages, in one panel cannot be told apart."""


def resuscitation_by_stage(tables: Tables) -> Drawing:
    """H, A, F, K and P over pretraining: the original, and what was woken at most stages."""
    found = tables.main_runs(resuscitations(tables.variants))
    figure, model_panels = outcome_blocks(tables, len(found))
    looks = style.line_looks(tables.variants)
    for block, (model, recipe) in zip(model_panels, found, strict=True):
        widest = widest_resuscitations(tables, model, recipe)
        names = [widest[place] for place in spread_indices(len(widest), MAX_LINES)]
        if len(names) < len(widest):
            figure.note(f"Drawn are {len(names)} of {len(widest)} run at as many stages.")
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
        head_block(block, tables, model)
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


def outcome_blocks(tables: Tables, num_blocks: int) -> tuple[Drawing, list[list[Axes]]]:
    """Return a figure with a block of panels per model and sweep; the last cell is empty."""
    num_panels = len(tables.measured(COMPARED)) + 1
    return blocks(num_blocks, num_panels, NUM_COLUMNS, row_inches=ROW_INCHES)


def head_block(block: list[Axes], tables: Tables, model: str, shared: str = "") -> None:
    """Write above a block whose it is, where there are several models, and what it shares."""
    name = model if len(tables.models()) > 1 else ""
    head(block[0], ", ".join(filter(None, (name, shared))))
