"""The table of effects: gauge, function and interaction, then variants less their controls."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.summary_schemas import EFFECTS
from ke_steps.claims.effect_rows import effect_rows
from ke_steps.report.effects import effect_table
from tests.invented.effects import crossed, draws


def rows_of(folder: Path, growth: tuple[float, ...]) -> list[dict[str, str]]:
    """Return the rows of the report's table by its columns."""
    controls = draws((0.0, 0.0), (0.5, 0.0))
    made = crossed(gauge=(0.2, 0.05), controls=controls, growth=growth)
    rows = pd.DataFrame(effect_rows(made.measured())).reindex(columns=EFFECTS.names)
    numbers = {"num_draws": "Int64", "num_beaten": "Int64"}
    write_table(folder / "effects.parquet", rows.astype(numbers), EFFECTS)
    table = effect_table(read_frame(folder / "effects.parquet", EFFECTS))
    assert table is not None
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_every_effect_has_a_row(tmp_path: Path) -> None:
    found = rows_of(tmp_path, (1,))
    assert [row["effect"] for row in found] == [
        "function",
        "gauge",
        "interaction",
        "less permuted, 2 draws",
    ]
    assert found[1]["P after"].startswith("+5.0\n[")
    assert re.fullmatch(r"\+0\.(19|20)\d\n\[0\.\d+, 0\.\d+\]", found[1]["K after"])
    assert found[3]["K after"].endswith("]\n1 of 2")
    assert "recipe" not in found[0]


def test_of_learning_rates_the_mean_is_shown(tmp_path: Path) -> None:
    found = rows_of(tmp_path, (0, 1, 2))
    assert len(found) == 4
    assert found[1]["K after"].startswith(("+0.2", "+0.19"))


def test_a_study_without_effects_has_no_table() -> None:
    assert effect_table(pd.DataFrame(columns=EFFECTS.names)) is None
