"""Figures that compare recipes, models, variants and corpora."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from ke_steps.figures import style
from ke_steps.figures.comparisons import heights
from ke_steps.figures.panels import Tables
from tests.invented.figures import MAIN, ByStage, Drawn, check_line, check_stages, means, plotted

BY_STAGE = [
    ByStage("learning_by_recipe", 0, "c4", "acquisition", "all/all", "c4"),
    ByStage("learning_by_recipe", 1, "baseline", "forgetting", "mean", MAIN),
    ByStage("learning_by_recipe", 2, "c4", "performance_after", "all/all", "c4"),
    ByStage("learning_by_recipe", 2, "before learning", "performance_before", "all/all", "c4"),
    ByStage("learning_by_recipe", 3, "c4", "accuracy_after", "mean", "c4"),
    ByStage("learning_by_recipe", 3, "before learning", "accuracy_before", "mean"),
]


@pytest.mark.parametrize("line", BY_STAGE, ids=lambda line: f"{line.figure}-{line.quantity}")
def test_lines_over_stages_are_the_summary(drawn: Drawn, tables: Tables, line: ByStage) -> None:
    check_stages(drawn, tables, line)


def test_error_bars_are_the_intervals_of_the_estimates(drawn: Drawn, tables: Tables) -> None:
    rows = tables.estimates[tables.estimates["quantity"] == "accuracy_after"]
    rows = rows[(rows["model"] == "olmo") & (rows["variant"] == "original")]
    rows = rows[(rows["group"] == "mean") & (rows["recipe"] == "baseline")].sort_values("step")
    axis = drawn["learning_by_recipe"].axes[3]
    drawn_bars = [
        [(bar[0, 1], bar[-1, 1]) for bar in bars.get_segments()]
        for bars in axis.collections
        if isinstance(bars, LineCollection)
    ]
    expected = list(zip(rows["low"], rows["high"], strict=True))
    assert any(np.allclose(bars, expected) for bars in drawn_bars if len(bars) == len(expected))


def test_models_are_compared_over_the_parts_of_their_courses(drawn: Drawn, tables: Tables) -> None:
    where = {"model": "pythia", "variant": "original", "recipe": "baseline"}
    values = means(tables.summary, "step", "value", quantity="forgetting", group="mean", **where)
    course = {step / 2000: value for step, value in values.items()}
    check_line(drawn["learning_by_model"].axes[1], "pythia", course)


def test_variants_are_listed_in_the_order_of_the_config(drawn: Drawn, tables: Tables) -> None:
    places = heights(tables, "olmo")
    assert places == {
        "original": {400: 0, 2000: 1},
        "boost_p50_q1": {2000: 2},
        "boost_p50_q2": {400: 3, 2000: 4},
        "boost_p25_q2": {2000: 5},
        "temperature1.5": {2000: 6},
        "temperature2": {2000: 7},
    }
    where = {"model": "olmo", "recipe": "baseline", "quantity": "forgetting", "group": "mean"}
    expected = {
        (means(tables.summary, "step", "value", variant=variant, **where)[step], height)
        for variant, steps in places.items()
        for step, height in steps.items()
    }
    axis = drawn["variants"].axes[2]
    points = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in axis.lines
        if line.get_marker() in style.MARKERS
    }
    assert sorted(points) == [pytest.approx(point) for point in sorted(expected)]


def test_of_very_many_points_those_at_some_steps_are_listed(tables: Tables) -> None:
    names, steps = [f"boost_{number}" for number in range(20)], range(0, 4000, 100)
    rows = [{"model": "olmo", "variant": name, "step": step} for name in names for step in steps]
    many = replace(tables, summary=pd.DataFrame(rows), variants=dict.fromkeys(names))
    places = heights(many, "olmo")
    assert list(places) == ["original", *names]
    assert {tuple(own) for own in places.values()} == {(0, 1000, 2000, 2900, 3900)}
    every = [place for own in places.values() for place in own.values()]
    assert every == list(range(5 * 21))


def test_novelty_is_a_distribution_on_a_logarithmic_axis(drawn: Drawn, tables: Tables) -> None:
    rows = tables.novelty[tables.novelty["model"] == "olmo"]
    rows = rows[rows["corpus"] == "continual"]
    axis = drawn["novelty_by_corpus"].axes[0]
    x, y = plotted(axis)["continual"]
    assert x == list(rows["perplexity"])
    assert y == list(rows["quantile"])
    assert axis.get_xscale() == "log"
