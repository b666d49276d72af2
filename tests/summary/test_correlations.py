"""Correlations over stages equal scipy's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import CORRELATIONS
from ke_steps.summary.correlations import correlate
from tests.invented.study import SETTINGS


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlations_equal_scipy(method: str) -> None:
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=12), generator.normal(size=12)
    expected = getattr(stats, f"{method}r")(x, y)
    found = correlate(x, y, method, SETTINGS)
    assert found["value"] == pytest.approx(expected.statistic)
    assert found["p_value"] == pytest.approx(expected.pvalue)
    assert -1 <= found["low"] < found["value"] < found["high"] <= 1
    assert found == correlate(x, y, method, SETTINGS)


def test_the_p_value_of_few_ranks_is_exact() -> None:
    x = np.arange(5.0)
    assert correlate(x, x**2, "spearman", SETTINGS)["p_value"] == pytest.approx(2 / 120)
    y = np.array([2.0, 1, 4, 3, 3])
    expected = stats.permutation_test(
        (y,), lambda order: stats.spearmanr(x, order).statistic, permutation_type="pairings"
    )
    found = correlate(x, y, "spearman", SETTINGS)
    assert found["p_value"] == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(
    ("x", "y"), [([1.0, 2, 3], [1.0, 2, 4]), ([1.0, 1, 1, 1, 1], [1.0, 2, 3, 4, 5])]
)
def test_too_few_points_or_a_constant_give_no_correlation(x: list[float], y: list[float]) -> None:
    found = correlate(np.array(x), np.array(y), "pearson", SETTINGS)
    assert all(math.isnan(value) for value in found.values())


def test_the_untrained_model_is_no_stage(tables: dict[str, Path]) -> None:
    pairs = read_frame(tables["correlations"], CORRELATIONS)
    assert set(pairs["num_points"]) == {5}
