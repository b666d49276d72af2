"""The figure of what else could explain learning and forgetting."""

from __future__ import annotations

from pathlib import Path

import pytest

from ke_steps.figures.panels import Tables
from ke_steps.figures.rivals import rivals_by_stage
from tests.invented.figures import (
    MAIN,
    ByStage,
    Drawn,
    check_line,
    check_stages,
    means,
    plotted,
    read_tables,
    title,
)
from tests.invented.study import SyntheticStudy

NAME = "rivals_by_stage"
PANELS = {
    "knowledge entropy": ("entropy_nats", "model"),
    "dormant, τ = 0.025": ("dormant_at_0.025", "model"),
    "participation ratio": ("participation_ratio", "model"),
    "weights": ("weight_norm", "model"),
    "gradient, new text": ("gradient_norm", "model"),
    "held-out text": ("held_out_loss_nats", "model"),
    "sensitivity, γ=0.1": ("sensitivity_nats", "model γ=0.1"),
    "first five steps": ("early_loss_fall_nats", "model"),
}


def test_each_panel_shows_a_quantity_by_stage(drawn: Drawn, tables: Tables) -> None:
    assert [title(axis) for axis in drawn[NAME].axes] == list(PANELS)
    for panel, (quantity, group) in enumerate(PANELS.values()):
        recipe = MAIN if quantity == "early_loss_fall_nats" else None
        check_stages(drawn, tables, ByStage(NAME, panel, "olmo", quantity, group, recipe))


def test_a_family_is_one_line_of_the_means_over_its_models(tmp_path: Path) -> None:
    study = SyntheticStudy(
        tmp_path,
        models=("a", "b", "c"),
        steps=(0, 400),
        variants={},
        families={"a": "twins", "b": "twins"},
    )
    tables = read_tables(study, study.build())
    figure = rivals_by_stage(tables)
    last = figure.axes[-1]
    assert set(plotted(last)) == {"twins", "c"}
    falls = means(
        tables.summary[tables.summary["model"] != "c"],
        "step",
        "value",
        quantity="early_loss_fall_nats",
    )
    check_line(last, "twins", falls)
    assert plotted(figure.axes[3])["twins"][1] == pytest.approx([20, 21])
