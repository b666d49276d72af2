"""Figures of what was learned and lost show the summary."""

from __future__ import annotations

import pytest

from ke_steps.figures.panels import Tables
from tests.invented.figures import MAIN, ByStage, Drawn, check_line, check_stages, means

BY_STAGE = [
    ByStage("acquisition_and_forgetting", 0, "once", "acquisition", "once/all", MAIN),
    ByStage("acquisition_and_forgetting", 1, "sciq", "forgetting", "sciq", MAIN),
    ByStage("acquisition_and_forgetting", 1, "mean over tasks", "forgetting", "mean", MAIN),
    ByStage("performance_by_stage", 0, "before learning", "performance_before", "all/all", "c4"),
    ByStage("performance_by_stage", 0, "after learning", "performance_after", "all/all", MAIN),
    ByStage("performance_by_stage", 1, "before learning", "accuracy_before", "mean"),
    ByStage("performance_by_stage", 1, "after learning", "accuracy_after", "mean", MAIN),
]


@pytest.mark.parametrize("line", BY_STAGE, ids=lambda line: f"{line.figure}-{line.quantity}")
def test_lines_over_stages_are_the_summary(drawn: Drawn, tables: Tables, line: ByStage) -> None:
    check_stages(drawn, tables, line)


def test_stages_of_entropy_and_learning_are_points(drawn: Drawn, tables: Tables) -> None:
    where = {"model": "olmo", "variant": "original"}
    h = means(tables.summary, "step", "value", quantity="entropy_nats", group="model", **where)
    a = means(
        tables.summary, "step", "value", quantity="acquisition", group="all/all",
        recipe="baseline", **where,
    )  # fmt: skip
    check_line(drawn["entropy_and_learning"].axes[0], "2,000", {h[2000]: a[2000]})
