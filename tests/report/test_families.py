"""The table of families has the summary's means, and is there only where a study has families."""

from __future__ import annotations

import base64
import io

import pandas as pd
import pytest

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import FAMILIES
from ke_steps.report.cells import estimated, lay_out
from ke_steps.report.families import family_table
from tests.invented.report import csv_of, report
from tests.invented.study import SyntheticStudy

STEPS = (0, 400, 2000)
SEEDS = ["run1", "run2", "run3"]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, str]:
    """The table ``families`` of a study with three seeds and another model, and its report."""
    study = SyntheticStudy(
        tmp_path_factory.mktemp("study"),
        models=(*SEEDS, "other"),
        steps=STEPS,
        families=dict.fromkeys(SEEDS, "pythia"),
        recipes=(),
        is_plain=True,
    )
    paths = study.build()
    text = report({"root": study.root, "tables": paths, "figures": []})
    return read_frame(paths["families"], FAMILIES), text


def test_a_row_is_a_stage_of_a_family_with_the_number_of_its_runs(
    told: tuple[pd.DataFrame, str],
) -> None:
    families, _ = told
    table = family_table(families)
    assert table is not None
    assert table.columns == ["family", "step", "runs", "H", "P before", "bits before"]
    assert [row[:3] for row in table.rows] == [["pythia", f"{step:,}", "3"] for step in STEPS]
    for column, quantity, group in ((3, "entropy_nats", "model"), (4, "accuracy_before", "mean")):
        of = families[(families["quantity"] == quantity) & (families["group"] == group)]
        points = of.to_dict("records")
        shown = [cell for (cell,) in lay_out([{"x": estimated(p["unit"], p)} for p in points]).rows]
        assert [row[column] for row in table.rows] == shown
        assert all("[" in text for text in shown)


def test_the_csv_has_a_row_per_run(told: tuple[pd.DataFrame, str]) -> None:
    families, text = told
    around = [[value - 1, value, value + 1] for value in families["value"]]
    table = family_table(families.assign(values=around))
    assert table is not None
    full = pd.read_csv(io.BytesIO(base64.b64decode(table.csv.partition(",")[2])))
    entropies = full[full["quantity"] == "entropy_nats"]
    assert entropies["model"].tolist() == SEEDS * len(STEPS)
    apart = entropies["value_of_model"] - entropies["value"]
    assert apart.tolist() == pytest.approx([-1, 0, 1] * len(STEPS))
    assert csv_of(text, "families.csv").columns.tolist() == full.columns.tolist()


def test_a_measure_of_one_stage_is_a_dash_at_the_others(told: tuple[pd.DataFrame, str]) -> None:
    families, _ = told
    is_other = (families["quantity"] == "accuracy_before") & (families["step"] > 0)
    table = family_table(families[~is_other])
    assert table is not None
    assert [row[4] == "–" for row in table.rows] == [False, True, True]


def test_a_study_without_families_has_no_such_table() -> None:
    assert family_table(pd.DataFrame(columns=FAMILIES.names)) is None
