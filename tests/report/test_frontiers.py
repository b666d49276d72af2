"""The table of frontiers: a row per stage or variant, with what it is compared with."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.summary_schemas import FRONTIERS
from ke_steps.claims.frontier_rows import frontier_rows
from ke_steps.report.frontiers import frontier_table
from tests.invented.frontiers import VARIANT, line, swept


def test_every_state_has_a_row(tmp_path: Path) -> None:
    made = swept(
        {
            (100, "original"): line(),
            (200, "original"): line(start=-3.5),
            (200, VARIANT): line((0.45, 0.4, 0.35, 0.3)),
            (300, VARIANT): line()[:2],
        }
    )
    rows = pd.DataFrame(frontier_rows(made.measured())).reindex(columns=FRONTIERS.names)
    numbers = {"num_halves_best": "Int64", "reference_step": "Int64"}
    write_table(tmp_path / "frontiers.parquet", rows.astype(numbers), FRONTIERS)
    table = frontier_table(read_frame(tmp_path / "frontiers.parquet", FRONTIERS))
    assert table is not None
    found = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["compared with"] for row in found] == ["–", "step 100", "original", "–"]
    assert [row["same P, %"] for row in found] == [
        "–",
        "50.0 to 80.0",
        "none in common",
        "–",
    ]
    assert [row["learning rates"] for row in found] == ["4", "4", "4", "2"]
    assert found[0]["P after, %"] == "50.0 to 80.0"
    assert found[0]["best rate"] == "0.002"
    assert re.fullmatch(r"−0\.(49|50)\d+\n\[−0\.5.*\]", found[1]["K at the same P"])
    assert found[3]["area"] == "–"
    assert "model" not in found[0]


def test_a_study_of_single_rates_has_no_table() -> None:
    assert frontier_table(pd.DataFrame(columns=FRONTIERS.names)) is None
