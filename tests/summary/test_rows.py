"""Results become rows of the summary."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ke_steps.artefacts.learning_schemas import TRAINING
from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.text_schemas import NOVELTY
from ke_steps.summary.rows import novelty_rows, training_rows
from tests.invented.tables import training


def test_the_interval_of_a_median_covers_it_as_often_as_it_says(tmp_path: Path) -> None:
    generator, covered = np.random.default_rng(1), 0
    for _ in range(200):
        losses = generator.normal(3, 1, size=40)
        rows = [
            {"corpus": "c4", "document_id": str(n), "num_tokens": 9, "loss_nats": loss}
            for n, loss in enumerate(losses)
        ]
        write_table(tmp_path / "novelty.parquet", rows, NOVELTY)
        (row,) = novelty_rows(tmp_path / "novelty.parquet", 0.9).to_dict("records")
        assert row["value"] == pytest.approx(np.exp(np.median(losses)))
        covered += row["low"] <= math.exp(3) <= row["high"]
    assert 0.87 < covered / 200 < 0.99


def test_the_entropy_of_a_dose_is_told_where_there_was_one(tmp_path: Path) -> None:
    path = tmp_path / "training.parquet"
    write_table(path, training(), TRAINING)
    assert list(training_rows([path])["quantity"]) == ["training_loss", "early_loss_fall_nats"]
    dosed = [
        row | {"contribution_normalized_entropy": step / 60} for step, row in enumerate(training())
    ]
    write_table(path, dosed, TRAINING)
    *_, row = training_rows([path]).to_dict("records")
    assert (row["quantity"], row["group"]) == ("learning_contribution_entropy", "model")
    assert row["value"] == pytest.approx(56.5 / 60)


@pytest.mark.parametrize(
    ("losses", "fall"),
    [
        ([5.0, 4.9, 4.7, 4.6, 4.4, 4.1, 3.0], 0.9),
        ([5.0, 4.9, 4.7, 4.6, 4.4, 4.1], 0.9),
        ([5.0, 4.9, 4.7, 4.6, 4.4], math.nan),
        ([5.0, 4.9, 4.7, 4.6, 4.4, math.inf], math.nan),
    ],
    ids=["longer", "just enough", "too short", "diverged"],
)
def test_the_early_fall_is_from_the_first_loss_to_that_after_five_steps(
    losses: list[float], fall: float, tmp_path: Path
) -> None:
    rows = [
        {"train_step": step, "loss_nats": loss, "contribution_normalized_entropy": None}
        for step, loss in enumerate(losses, start=1)
    ]
    write_table(tmp_path / "training.parquet", rows, TRAINING)
    found = training_rows([tmp_path / "training.parquet"]).set_index("quantity")["value"]
    assert found["early_loss_fall_nats"] == pytest.approx(fall, nan_ok=True)
