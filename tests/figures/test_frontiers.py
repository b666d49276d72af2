"""The figure of frontiers: stages, and variants at the last step that has some."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ke_steps.figures.frontiers import learning_frontiers
from ke_steps.figures.panels import Tables
from tests.invented.figures import Drawn, check_line, title

NAME = "learning_frontiers"


def test_a_line_goes_through_the_points_of_each_state(drawn: Drawn, tables: Tables) -> None:
    stages, variants = drawn[NAME].axes
    assert title(stages) == "nursery: stages"
    assert title(variants) == "nursery: variants at step 2,000"
    rows = tables.frontiers[tables.frontiers["model"] == "nursery"]
    for axis, labels in (
        (stages, {"400": (400, "original"), "2,000": (2000, "original")}),
        (variants, {name: (2000, name) for name in ("original", "boost_p50_q2")}),
    ):
        for label, (step, variant) in labels.items():
            points = rows[(rows["step"] == step) & (rows["variant"] == variant)]
            known = dict(zip(points["accuracy_after"], points["knowledge_after_nats"], strict=True))
            assert len(known) == 4
            check_line(axis, label, known)


def test_the_lowest_rate_is_hollow(drawn: Drawn, tables: Tables) -> None:
    axis = drawn[NAME].axes[0]
    hollow = [line for line in axis.lines if str(line.get_markerfacecolor()) == "white"]
    lowest = tables.frontiers["accuracy_after"].max()  # the least forgetting
    assert [list(line.get_xdata()) for line in hollow] == [[pytest.approx(lowest)]] * 2


def test_without_a_whole_frontier_it_says_so(tables: Tables) -> None:
    few = tables.frontiers.assign(area_nats=float("nan"))
    assert not learning_frontiers(replace(tables, frontiers=few)).axes
