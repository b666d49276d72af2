"""The table of what else could explain learning and forgetting."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pandas as pd
import pytest

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import ESTIMATES, RUNS, SUMMARY
from ke_steps.report.rivals import rival_table
from ke_steps.report.tables import Results
from ke_steps.summary.runs import mark
from tests.invented.study import SyntheticStudy


def results_of(study: SyntheticStudy) -> Results:
    paths = study.build()
    summary = mark(read_frame(paths["summary"], SUMMARY), read_frame(paths["runs"], RUNS))
    return Results(summary, read_frame(paths["estimates"], ESTIMATES))


def test_a_row_per_checkpoint_has_the_panel_beside_entropy(tmp_path: Path) -> None:
    steps = (0, 400, 2000)
    study = SyntheticStudy(tmp_path, steps=steps, recipes=("baseline", "c4"))
    table = rival_table(results_of(study))
    assert table is not None
    assert table.columns == [
        *("step", "H", "τ = 0", "τ = 0.025", "τ = 0.1", "participation ratio", "effective rank"),
        *("‖θ‖", "‖∇L‖", "held-out loss", "ΔL, γ=0.1", "ΔL, γ=0.2", "loss fall"),
    ]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["step"] for row in rows] == ["0", "400", "2,000"]
    last = rows[-1]
    assert last["τ = 0.025"] == "4.5"
    assert (last["participation ratio"], last["effective rank"]) == ("38.000", "76.000")
    assert (last["‖θ‖"], last["‖∇L‖"], last["held-out loss"]) == ("22.000", "1.800", "3.400")
    assert last["ΔL, γ=0.2"] == "0.600\n[0.540, 0.660]"
    assert all(row["H"] != "–" and row["loss fall"] != "–" for row in rows)
    csv = pd.read_csv(io.BytesIO(base64.b64decode(table.csv.partition(",")[2])))
    assert list(csv["model γ=0.2/sensitivity_nats"]) == pytest.approx([0.2, 0.4, 0.6])
    assert set(csv["model γ=0.2/sensitivity_nats_interval_kind"]) == {
        "Student's t over draws of noise"
    }


def test_a_study_that_does_not_measure_them_has_no_table(tmp_path: Path) -> None:
    study = SyntheticStudy(tmp_path, steps=(400,), is_plain=True)
    assert rival_table(results_of(study)) is None
