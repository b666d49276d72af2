"""Permutation tests of rank correlations against scipy and against what is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ke_steps.formulas import permutation
from ke_steps.formulas.permutation import permutation_p_value, permuted_correlations


def p_of(x: np.ndarray, y: np.ndarray, num_permutations: int, seed: int = 0) -> float:
    generator = np.random.default_rng(seed)
    (permuted,) = permuted_correlations(x[None], y, num_permutations, generator)
    return permutation_p_value(float(stats.spearmanr(x, y).statistic), permuted)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([3.0, 1.0, 2.0, 6.0, 5.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        ([1.0, 1.0, 2.0, 2.0, 2.0, 7.0], [0.0, 0.0, 0.0, 1.0, 5.0, 5.0]),
    ],
)
def test_p_is_that_of_scipy_over_all_orders_also_with_ties(x: list[float], y: list[float]) -> None:
    exact = stats.permutation_test(
        (np.array(x),),
        lambda order: abs(stats.spearmanr(order, y).statistic),
        permutation_type="pairings",
        alternative="greater",
        vectorized=False,
        n_resamples=np.inf,
    )
    assert p_of(np.array(x), np.array(y), 40_000) == pytest.approx(exact.pvalue, abs=0.01)


def test_correlations_are_spearmans_in_pieces_as_in_one(monkeypatch) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.integers(4, size=(2, 9)).astype(float), generator.random(9)
    whole = permuted_correlations(x, y, 50, np.random.default_rng(1))
    monkeypatch.setattr(permutation, "VALUES_AT_A_TIME", 30)
    np.testing.assert_allclose(permuted_correlations(x, y, 50, np.random.default_rng(1)), whole)
    orders = np.random.default_rng(1).permuted(np.tile(y, (50, 1)), axis=1)
    expected = [[stats.spearmanr(each, order).statistic for order in orders] for each in x]
    np.testing.assert_allclose(whole, expected, atol=1e-12)


def test_p_is_uniform_where_nothing_is_related() -> None:
    generator = np.random.default_rng(3)
    found = [p_of(*generator.random((2, 20)), 199, seed) for seed in range(400)]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_a_planted_relation_is_found_either_way() -> None:
    generator = np.random.default_rng(4)
    x = generator.random(100)
    y = x + generator.normal(scale=0.3, size=100)
    assert p_of(x, y, 999) == p_of(x, -y, 999) == 1 / 1000


def test_what_is_the_same_everywhere_has_no_correlation() -> None:
    (found,) = permuted_correlations(np.ones((1, 5)), np.arange(5.0), 10, np.random.default_rng(0))
    assert np.isnan(found).all()
    assert math.isnan(permutation_p_value(math.nan, found))
