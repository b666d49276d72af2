"""The figure of effects: gauge, function, and variants against their controls."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes

from ke_steps.artefacts.summary_schemas import ENTROPY_ALONE
from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing, keep
from ke_steps.figures.layout import blocks, words
from ke_steps.figures.marks import sides
from ke_steps.figures.panels import Tables
from ke_steps.summary.quantities import ACCURACY_AFTER, KNOWLEDGE_AFTER, Measure

SHOWN = (KNOWLEDGE_AFTER, ACCURACY_AFTER)
EFFECT_INCHES = 0.24


def gauge_and_function(tables: Tables) -> Drawing:
    """Effects on K and P after learning with their intervals, at the last step that has some."""
    found = list(_last_of_each_model(tables.effects))
    if not found:
        return words("Nothing to show: no checkpoint has arms to be compared.")
    most = max(len(rows) for _, rows in found) / len(SHOWN)
    height = 0.9 + EFFECT_INCHES * most
    figure, model_panels = blocks(len(found), len(SHOWN), len(SHOWN), row_inches=height)
    for (title, rows), block in zip(found, model_panels, strict=True):
        for axis, measure in zip(block, SHOWN, strict=True):
            _draw(axis, rows[rows["quantity"] == measure.quantity], measure)
        block[0].set_title(title)
        if not style.is_narrow():
            block[1].set_yticklabels([])
    return figure


def _last_of_each_model(effects: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield title and rows: means over learning rates where there are some, else one recipe.

    Beside them entropy alone, which has recipes of its own.
    """
    told = effects[effects["quantity"].isin([measure.quantity for measure in SHOWN])]
    for model, own in told.groupby("model", sort=False):
        is_alone = own["effect"] == ENTROPY_ALONE
        rows = own[~is_alone]
        if len(means := rows[rows["recipe"].isna()]):
            rows = means[means["frontier"] == means["frontier"].iloc[0]]
        elif len(rows):
            rows = rows[rows["recipe"] == rows["recipe"].iloc[0]]
        rows = pd.concat([rows, own[is_alone]])
        step = rows["step"].max()
        yield f"{model}, step {style.step_label(step)}", rows[rows["step"] == step]


def _draw(axis: Axes, rows: pd.DataFrame, measure: Measure) -> None:
    places = list(range(len(rows)))[::-1]
    rows = rows.assign(place=places)
    axis.axvline(0, color=style.GREY, linewidth=0.8)
    axis.errorbar(
        rows["value"], places, xerr=sides(rows), fmt="none", ecolor=style.INK, elinewidth=1,
        capsize=2.5,
    )  # fmt: skip
    axis.plot(rows["value"], places, "o", color=style.INK)
    keep(axis, rows, "value", "place")
    axis.set_yticks(places, list(_labels(rows)))
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_xlabel(f"change of {measure.label}" + (" (nats)" if measure.unit == "nats" else ""))
    if measure.unit == "fraction":
        style.percent(axis.xaxis)


def _labels(rows: pd.DataFrame) -> Iterator[str]:
    of_parts = rows.loc[rows["num_draws"].isna(), "variant"].nunique()
    for row in rows.to_dict("records"):
        if pd.notna(row["num_draws"]):
            yield f"{row['variant']} less {row['effect']}"
        else:
            yield row["effect"] + (f" ({row['variant']})" if of_parts > 1 else "")
