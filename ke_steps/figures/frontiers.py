"""The figure of frontiers: new knowledge against old, over learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing, keep
from ke_steps.figures.layout import blocks, words
from ke_steps.figures.marks import sides
from ke_steps.figures.panels import Tables
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import ACCURACY_AFTER, KNOWLEDGE_AFTER


def learning_frontiers(tables: Tables) -> Drawing:
    """K against P after learning, a line over learning rates: stages, then variants at the last."""
    rows = tables.frontiers[tables.frontiers["area_nats"].notna()]
    if rows.empty:
        return words("Nothing to show: no state has a frontier.")
    rows = rows[rows["frontier"] == rows["frontier"].iloc[0]]
    panels = [
        (model, kind, part)
        for model, own in rows.groupby("model", sort=False)
        for kind, part in (("stages", _stages(own)), ("variants", _variants(own)))
        if len(part)
    ]
    num_columns = min(2, len(panels))
    figure, (axes,) = blocks(1, len(panels), num_columns, row_inches=3.4)
    of_stages = style.ordered_looks(tables.steps())
    drawn = set(rows["variant"])
    of_variants = style.line_looks(name for name in (ORIGINAL, *tables.variants) if name in drawn)
    for axis, (model, kind, part) in zip(axes, panels, strict=True):
        if kind == "stages":
            _draw(axis, part, "step", of_stages)
            axis.set_title(f"{model}: stages")
        else:
            _draw(axis, part, "variant", of_variants)
            axis.set_title(f"{model}: variants at step {style.step_label(part['step'].iloc[0])}")
        axis.legend(fontsize=7.5)
        axis.set_xlabel("P after learning")
        axis.set_ylabel("K after learning (nats)")
        style.percent(axis.xaxis)
        tables.draw_reference(axis, ACCURACY_AFTER, model, along="x")
        tables.draw_reference(axis, KNOWLEDGE_AFTER, model)
    return figure


def _stages(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["variant"] == ORIGINAL]


def _variants(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last step that has a variant, the original's as well."""
    changed = rows.loc[rows["variant"] != ORIGINAL, "step"]
    return rows[rows["step"] == changed.max()] if len(changed) else rows.head(0)


def _draw(axis: Axes, rows: pd.DataFrame, by: str, looks: Mapping[Any, Mapping[str, Any]]) -> None:
    """Draw a line per stage or variant, hollow at its lowest learning rate."""
    for name in rows[by].unique():
        points = rows[rows[by] == name]
        old, new = points["accuracy_after"], points["knowledge_after_nats"]
        colour, marker = looks[name]["colour"], looks[name]["marker"]
        bars = (_sides(points, new.name, "knowledge_after"), _sides(points, old.name, old.name))
        axis.errorbar(old, new, *bars, fmt="none", ecolor=colour, elinewidth=0.8)
        label = style.step_label(name) if by == "step" else str(name)
        axis.plot(old, new, color=colour, marker=marker, label=label)
        axis.plot(old.iloc[:1], new.iloc[:1], marker, color=colour, markerfacecolor="white")
        keep(axis, points, "accuracy_after", "knowledge_after_nats", label)


def _sides(points: pd.DataFrame, column: object, name: object) -> list[Any]:
    return sides(points, str(column), f"{name}_low", f"{name}_high")
