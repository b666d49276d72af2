"""The figure of effects: a point per effect and control, with its interval."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ke_steps.figures.effects import gauge_and_function
from ke_steps.figures.panels import Tables
from tests.invented.figures import Drawn, title

NAME = "gauge_and_function"
ROWS = ["function", "gauge", "interaction", "woken less permuted"]


def test_a_point_for_each_effect_at_its_value(drawn: Drawn, tables: Tables) -> None:
    new, old = drawn[NAME].axes
    assert title(new) == "nursery, step 400"
    assert [label.get_text() for label in new.get_yticklabels()] == ROWS
    rows = tables.effects[(tables.effects["model"] == "nursery") & tables.effects["recipe"].isna()]
    for axis, quantity in ((new, "performance_after"), (old, "accuracy_after")):
        (points,) = (line for line in axis.lines if line.get_marker() == "o")
        values = rows.loc[rows["quantity"] == quantity, "value"]
        assert list(points.get_xdata()) == pytest.approx(list(values))
        assert list(points.get_ydata()) == [3, 2, 1, 0]


def test_without_effects_there_is_nothing_to_show(tables: Tables) -> None:
    assert not gauge_and_function(replace(tables, effects=tables.effects.head(0))).axes
