"""Figures of single memories: their updates and the changes of their ranking."""

from __future__ import annotations

import pandas as pd
import pytest

from ke_steps.figures.memories import consecutive
from ke_steps.figures.panels import Tables
from tests.invented.figures import MAIN, ByStage, Drawn, check_line, check_stages, means

BY_STAGE = [
    ByStage("update_map", 0, "original", "memory_update_entropy_nats", "model", MAIN),
    ByStage(
        "update_map", 1, "boost_p50_q2", "key_update_entropy_nats", "model", MAIN,
        "boost_p50_q2",
    ),
]  # fmt: skip


@pytest.mark.parametrize("line", BY_STAGE, ids=lambda line: f"{line.figure}-{line.quantity}")
def test_lines_over_stages_are_the_summary(drawn: Drawn, tables: Tables, line: ByStage) -> None:
    check_stages(drawn, tables, line)


def test_update_correlations_are_drawn_over_the_layers(drawn: Drawn, tables: Tables) -> None:
    where = {"model": "olmo", "recipe": "baseline", "variant": "original", "step": 400}
    where |= {"quantity": "key_update_correlation_spearman"}
    groups = {layer: {"group": f"layer {layer}"} for layer in (0, 1)}
    layers = {
        layer: means(tables.summary, "step", "value", **group, **where)[400]
        for layer, group in groups.items()
    }
    check_line(drawn["update_map"].axes[3], "400", layers)


def test_rankings_go_from_each_stage_to_the_next(drawn: Drawn, tables: Tables) -> None:
    rows = tables.rankings[tables.rankings["model"] == "olmo"]
    for axis, column in zip(
        drawn["ranking_changes"].axes,
        ("spearman", "most_active_kept", "least_active_kept"),
        strict=False,
    ):
        check_line(axis, "mean over layers", means(rows, "step_to", column, layer=None))
        check_line(axis, "layer 1", means(rows, "step_to", column, layer=1))


def test_rankings_over_several_stages_are_left_out() -> None:
    rows = pd.DataFrame(
        [("m", 0, 5, 0), ("m", 5, 9, 0), ("m", 9, 20, 0), ("m", 5, 20, 0), ("n", 5, 20, 0)],
        columns=["model", "step_from", "step_to", "layer"],
    )
    steps = consecutive(rows)[["model", "step_from", "step_to"]]
    expected = [("m", 0, 5), ("m", 5, 9), ("m", 9, 20), ("n", 5, 20)]
    assert list(steps.itertuples(index=False, name=None)) == expected
