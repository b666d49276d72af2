"""The figure of what goes with entropy between runs of pretraining."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ke_steps.figures.between_runs import entropy_and_learning_between_runs
from ke_steps.figures.panels import Tables
from tests.invented.figures import Drawn, title

NAME = "entropy_and_learning_between_runs"


def test_dots_are_runs_at_stages_and_the_line_is_the_slope(drawn: Drawn, tables: Tables) -> None:
    for axis, (_, rows) in zip(
        drawn[NAME].axes, tables.between_runs.groupby("quantity", sort=False), strict=True
    ):
        line, *families = axis.lines
        x, y = line.get_data()
        assert y == pytest.approx(rows["slope"].iloc[0] * x)
        for family in families:
            own = rows[rows["family"] == family.get_label()]
            assert list(family.get_xdata()) == list(own["entropy_residual_nats"])
            assert list(family.get_ydata()) == list(own["residual"])
        assert {family.get_label() for family in families} == {"lean", "rich"}
        (wedge,) = axis.collections
        at_end = [corner for corner in wedge.get_paths()[0].vertices if corner[0] == x[-1]]
        ends = [rows[f"slope_{end}"].iloc[0] * x[-1] for end in ("low", "high")]
        assert {corner[1] for corner in at_end} == set(ends)


def test_the_title_says_slope_interval_and_p(drawn: Drawn) -> None:
    knowledge, accuracy, _ = drawn[NAME].axes
    assert title(knowledge).startswith("β = 0.")
    assert title(knowledge).endswith("nats per nat, p = 0.0017")
    assert "points per nat" in title(accuracy)


def test_it_is_of_the_main_recipe(tables: Tables) -> None:
    other = tables.between_runs.assign(recipe="c4", slope=99.0)
    figure = entropy_and_learning_between_runs(replace(tables, between_runs=other))
    assert title(figure.axes[0]).startswith("β = 99.000")
    swapped = replace(tables, between_runs=other, recipes=["baseline"])
    assert not entropy_and_learning_between_runs(swapped).axes
