"""Curves over a run, and the distribution of activity."""

from __future__ import annotations

from pathlib import Path

import pytest

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import CURVES, DISTRIBUTIONS


def test_curves_average_probes_then_passages(tables: dict[str, Path]) -> None:
    curves = read_frame(tables["curves"], CURVES)
    start = curves[(curves["moment"] == "start") & (curves["condition"] == "all")]
    assert start["performance"].to_numpy() == pytest.approx(-8.25)
    one = curves[(curves["step"] == 0) & (curves["seed"] == 0) & (curves["condition"] == "once")]
    assert list(one["moment"]) == ["start", *["before", "after"] * 5, "end"]
    assert one["train_step"].is_monotonic_increasing


def test_distributions_are_quantile_functions_around_one(tables: dict[str, Path]) -> None:
    table = read_frame(tables["distributions"], DISTRIBUTIONS)
    for _, curve in table.groupby(["step", "variant", "layer"]):
        assert len(curve) == 101
        assert curve["quantile"].iloc[0] == 0.001
        assert curve["relative_activity"].is_monotonic_increasing
        assert curve["relative_activity"].iloc[0] < 1 < curve["relative_activity"].iloc[-1]
