"""Curves over the steps of runs: of probes, injections and what is retained."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from ke_steps.figures.curves import after_injections, means_along, retention_over_time
from ke_steps.figures.layout import settle
from ke_steps.figures.panels import Tables
from tests.invented.figures import MAIN, Drawn, check_line, means, plotted, title


def test_probe_curves_are_the_means_over_seeds(drawn: Drawn, tables: Tables) -> None:
    axis = drawn["probe_curves"].axes[1]
    assert title(axis) == "once"
    x, y = plotted(axis)["400"]
    rows = tables.curves[
        (tables.curves["model"] == "olmo")
        & (tables.curves["variant"] == "original")
        & (tables.curves["recipe"] == MAIN)
        & (tables.curves["step"] == 400)
        & (tables.curves["condition"] == "once")
    ]
    assert len(x) == len(rows.groupby(["train_step", "moment"]))
    assert x == sorted(x)
    start = rows.loc[rows["moment"] == "start", "performance"].mean()
    end = rows.loc[rows["moment"] == "end", "performance"].mean()
    assert (x[0], x[-1]) == (0, 60)
    assert (y[0], y[-1]) == (pytest.approx(start), pytest.approx(end))


def test_knowledge_after_each_injection_is_relative_to_the_start_of_its_run() -> None:
    curves = pd.DataFrame(
        [
            (10, 0, "start", 0, -8.0), (10, 0, "before", 4, -7.0), (10, 0, "after", 5, -6.0),
            (10, 0, "after", 10, -4.0), (10, 0, "end", 12, -5.0),
            (10, 1, "start", 0, -4.0), (10, 1, "after", 5, -2.0), (10, 1, "after", 10, -1.0),
        ],
        columns=["step", "seed", "moment", "train_step", "performance"],
    )  # fmt: skip
    after = after_injections(curves.assign(is_trained=True))
    assert list(after["injection"]) == [1, 2, 1, 2]
    assert list(after["performance"]) == [-6, -4, -2, -1]
    assert list(after["acquisition"]) == [0.25, 0.5, 0.5, 0.75]


def test_knowledge_by_injection_shows_acquisition_above_performance(
    drawn: Drawn, tables: Tables
) -> None:
    where = {"model": "olmo", "variant": "original", "recipe": "baseline", "step": 2000}
    where |= {"condition": "paraphrase"}
    reached = means(tables.curves, "train_step", "performance", moment="after", **where)
    numbered = dict(enumerate(reached.values(), start=1))
    start = means(tables.curves, "train_step", "performance", moment="start", **where)[0]
    figure = drawn["knowledge_by_injection"]
    check_line(figure.axes[2], "2,000", numbered)
    # Both seeds start from the same K, so that the mean of their A is the A of their mean K.
    check_line(figure.axes[0], "2,000", {k: 1 - value / start for k, value in numbered.items()})


def test_retention_starts_after_the_peak(drawn: Drawn, tables: Tables) -> None:
    where = {"model": "olmo", "variant": "original", "recipe": "baseline", "step": 400}
    left = means(tables.retained, "steps_since", "retained", condition="once", **where)
    assert left.pop(0) == 1
    axis = drawn["retention_over_time"].axes[1]
    check_line(axis, "400", left)
    assert axis.get_xscale() == "log"


def test_a_condition_that_gained_nothing_says_so(tables: Tables) -> None:
    """What is retained of no gain is not defined: the panel stays, and the figure is drawn."""
    later = (tables.retained["condition"] == "once") & (tables.retained["steps_since"] > 0)
    names = ["retained", "low", "high"]
    retained = tables.retained.astype(dict.fromkeys(names, float))
    retained.loc[later, names] = float("nan")
    figure = retention_over_time(replace(tables, retained=retained))
    settle(figure)
    written = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert "nothing is defined here" in written


def test_curves_ascend_though_seeds_have_other_times() -> None:
    rows = pd.DataFrame(
        [(8, 0, 1, 0.9), (8, 0, 5, 0.5), (8, 1, 1, 0.7), (8, 1, 3, 0.6)],
        columns=["step", "seed", "steps_since", "value"],
    ).assign(is_trained=True, low=0.0, high=1.0)
    found = means_along(rows, "steps_since", 0.95, is_sampled=True)
    assert list(found["steps_since"]) == [1, 3, 5]
    assert list(found["value"]) == pytest.approx([0.8, 0.6, 0.5])
    assert list(found["seeds"]) == [[0.9, 0.7], [0.6], [0.5]]
