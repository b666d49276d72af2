"""Figures know the numbers in them: what was drawn is what they keep, and that is the tables'."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from ke_steps.figures.drawn import Drawing
from ke_steps.figures.panels import Tables
from tests.invented.figures import FIGURES, Drawn

NUMBERS = ["value", "low", "high"]
OF_OTHER_TABLES = ("entropy_by_phase", "learning_by_model", "rivals_by_stage")
KEYS = ["model", "recipe", "variant", "quantity", "group", "step"]


def points_of(axis: Axes) -> set[tuple[float, float]]:
    """The points of every line in a panel, also of those without a label."""
    return {
        (float(x), float(y))
        for line in axis.lines
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }


def kept(figure: Drawing, axis: Axes) -> set[tuple[float, float]]:
    return {
        (float(x), float(y))
        for mark in figure.marks
        if mark.axis is axis
        for x, y in mark.rows[[mark.x, mark.y]].dropna().itertuples(index=False)
    }


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_kept_is_what_is_drawn(drawn: Drawn, name: str) -> None:
    figure = drawn[name]
    assert figure.marks
    for axis in figure.axes:
        of_data = {(x, y) for x, y in kept(figure, axis) if (x, y) not in references(figure, axis)}
        assert of_data <= points_of(axis)
        for line in axis.lines:
            is_named = (
                not str(line.get_label()).startswith("_") and line.get_transform() == axis.transData
            )
            if is_named:
                x, y = (np.asarray(each, dtype=float) for each in line.get_data())
                known = ~(np.isnan(x) | np.isnan(y))
                assert set(zip(x[known], y[known], strict=True)) <= of_data, line.get_label()


def references(figure: Drawing, axis: Axes) -> set[tuple[float, float]]:
    """What is drawn across a whole panel, at its one value."""
    return {
        (float(value), float(value))
        for mark in figure.marks
        if mark.axis is axis and "reference" in mark.rows
        for value in mark.rows["value"]
    }


@pytest.mark.parametrize("name", FIGURES)
def test_bars_are_the_intervals_that_are_kept(drawn: Drawn, name: str) -> None:
    figure = drawn[name]
    for mark in figure.marks:
        value = mark.x if mark.y == "place" else mark.y
        if value != "value" or "low" not in mark.rows or mark.x == "entropy_nats":
            continue
        along = mark.y if mark.y == "place" else mark.x
        side = 0 if along == mark.x else 1
        bars = [
            [end[0, side], *sorted(end[:, 1 - side])]
            for lines in mark.axis.collections
            if isinstance(lines, LineCollection)
            for end in lines.get_segments()
            if len(end) == 2
        ]
        rows = mark.rows[[along, "low", "high"]].dropna()
        for bar in rows.to_numpy(dtype=float):
            gaps = np.abs(np.array(bars) - bar).max(axis=1)
            assert gaps.min() < 1e-9, bar


def test_points_are_the_rows_of_the_estimates(drawn: Drawn, one_model: Tables) -> None:
    """Each point of every figure over stages and variants, by its names, to the last bit."""
    marks = [
        mark.rows
        for name in FIGURES
        if name not in OF_OTHER_TABLES
        for mark in drawn[name].marks
        if {*KEYS, "interval_kind"} <= set(mark.rows) and "change_since_step" not in mark.rows
    ]
    kept_rows = pd.concat(marks).dropna(subset="variant")[[*KEYS, *NUMBERS]]
    both = kept_rows.fillna({"recipe": ""}).merge(
        one_model.estimates.fillna({"recipe": ""}), on=KEYS, suffixes=("", "_told")
    )
    assert len(both) == len(kept_rows) > 200
    for column in NUMBERS:
        np.testing.assert_array_equal(both[column], both[f"{column}_told"])


def test_changes_are_told_as_changes(drawn: Drawn) -> None:
    data = drawn["entropy_by_layer"].data()
    changes = data[data["change_since_step"].notna()]
    levels = data[data["change_since_step"].isna() & (data["title"] == "olmo")]
    assert set(changes["title"]) == {"change since step 400"}
    assert set(changes["change_since_step"]) == {400}
    for layer, rows in changes.groupby("layer"):
        own = levels[levels["layer"] == layer].set_index("step")["value"]
        assert list(rows["value"]) == [0, own[2000] - own[400]]


def test_the_data_say_where_they_are_drawn(drawn: Drawn) -> None:
    data = drawn["performance_by_stage"].data()
    assert list(data.columns[:3]) == ["panel", "title", "series"]
    places = data[["panel", "title", "series"]].drop_duplicates()
    titles = [(1, "probe performance K"), (2, "accuracy P")]
    moments = ("before learning", "after learning")
    known = {(*title, moment) for title in titles for moment in moments}
    assert known <= set(places.itertuples(index=False, name=None))
    assert list(data.loc[data["series"] == "chance, 10.0 %", "value"]) == [0.1]
    seeds = data.loc[data["quantity"] == "accuracy_after", ["value", "seeds"]]
    for value, text in seeds.itertuples(index=False):
        assert np.mean([float(word) for word in text.split()]) == pytest.approx(value)


def test_a_figure_in_words_has_no_data() -> None:
    data = Drawing(3, 1).data()
    pd.testing.assert_frame_equal(data, pd.DataFrame(columns=["panel", "title", "series"]))
