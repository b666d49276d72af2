"""The table of phases: a row per run, also of those without saturation."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.summary_schemas import CLAIMS, PHASES
from ke_steps.claims.judging import claims
from ke_steps.claims.measured import Measured
from ke_steps.claims.phases import phase_rows
from ke_steps.report.phases import phase_table
from ke_steps.report.verdicts import findings_of
from tests.invented.phases import STEPS, Course, grid

FAMILY = "zipf_decay1_md4"
PREDICTION = {"name": "P1", "claim": "entropy_falls_after_saturation", "families": [FAMILY]}


@pytest.fixture(scope="module")
def runs() -> list[Measured]:
    lost = Course(recall=dict.fromkeys(STEPS, 0.25))
    return grid([PREDICTION], changed={f"{FAMILY}_s4": lost})


def test_every_run_has_its_row(runs: list[Measured], tmp_path: Path) -> None:
    rows = [row for run in runs for row in phase_rows(run)]
    whole = pd.DataFrame(rows, columns=PHASES.names)
    steps = {"plateau_step": "Int64", "saturation_step": "Int64"}
    write_table(tmp_path / "phases.parquet", whole.astype(steps), PHASES)
    table = phase_table(read_frame(tmp_path / "phases.parquet", PHASES))
    assert table is not None
    found = {row[1]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert list(found) == [f"{FAMILY}_s{seed}" for seed in (3, 4, 5)]
    saturated, lost = found[f"{FAMILY}_s3"], found[f"{FAMILY}_s4"]
    assert [saturated[name] for name in ("plateau", "saturation", "last")] == ["50", "500", "6,000"]
    assert saturated["H, change after"].startswith("−0.7")
    assert "\n[−0.7" in saturated["H, change after"]
    assert saturated["K after, change after"].startswith("−0.4")
    assert saturated["no saturation, as"] == "–"
    assert [lost[name] for name in ("plateau", "saturation")] == ["–", "none"]
    assert lost["no saturation, as"] == "its recall at the end cannot be told from chance"
    assert lost["H at the last"] != "–"


def test_a_study_without_recall_has_no_table() -> None:
    assert phase_table(pd.DataFrame(columns=PHASES.names)) is None


def test_a_prediction_is_told_apart(runs: list[Measured], tmp_path: Path) -> None:
    rows = pd.DataFrame(claims(runs, between_runs=[]), columns=CLAIMS.names).astype(
        {"decided_by_step": "Int64"}
    )
    write_table(tmp_path / "claims.parquet", rows, CLAIMS)
    told = findings_of(read_frame(tmp_path / "claims.parquet", CLAIMS))
    assert told[0]["model"] == FAMILY
    words = [mark.words for mark in told[0]["marks"]]
    assert words[0] == "this study's prediction"
    assert not {"primary", "secondary"} & set(words)
    others = {mark.words for each in told[1:] for mark in each["marks"]}
    assert "this study's prediction" not in others
