"""The bootstrap against scipy's."""

import math

import numpy as np
import pytest
import scipy.stats

from ke_steps.formulas.bootstrap import (
    PROPORTION,
    basic_interval,
    bootstrap_weights,
    sampling_interval,
    unresolved_proportion,
)


def test_weights_are_resamples():
    weights = bootstrap_weights(7, 500, seed=3)
    assert weights.shape == (500, 7)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights * 7, np.round(weights * 7), atol=1e-12)
    np.testing.assert_allclose(weights.mean(axis=0), 1 / 7, atol=0.02)
    np.testing.assert_array_equal(weights, bootstrap_weights(7, 500, seed=3))


def test_interval_of_a_mean_and_of_a_ratio_equal_scipy():
    generator = np.random.default_rng(0)
    before, after = generator.gamma(2, size=40), generator.gamma(3, size=40)
    weights = bootstrap_weights(40, 20000, seed=1)
    for estimate, replicates, statistic, data in [
        (before.mean(), weights @ before, lambda x, axis: x.mean(axis=axis), (before,)),
        (
            1 - after.mean() / before.mean(),
            1 - (weights @ after) / (weights @ before),
            lambda x, y, axis: 1 - y.mean(axis=axis) / x.mean(axis=axis),
            (before, after),
        ),
    ]:
        low, high = basic_interval(estimate, replicates, 0.95)
        expected = scipy.stats.bootstrap(
            data, statistic, method="basic", paired=True, n_resamples=20000, rng=2
        ).confidence_interval
        np.testing.assert_allclose(
            [low, high], expected, atol=0.02 * (expected.high - expected.low)
        )
        assert low < estimate < high


@pytest.mark.parametrize("is_right", [0, 1])
@pytest.mark.parametrize("num_units", [1, 2, 10, 49, 237])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_none_or_all_of_n_units_have_the_exact_binomial_interval(is_right, num_units, confidence):
    values = np.full(num_units, float(is_right))
    replicates = bootstrap_weights(num_units, 200, seed=0) @ values
    unresolved = unresolved_proportion(num_units, confidence)
    found = sampling_interval(values.mean(), replicates, unresolved, confidence, PROPORTION)
    test = scipy.stats.binomtest(is_right * num_units, num_units)
    expected = test.proportion_ci(confidence, method="exact")
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_no_interval_leaves_its_bounds():
    values = np.array([1.0] * 5 + [0.0])
    replicates = bootstrap_weights(6, 500, seed=0) @ values
    low, high = sampling_interval(values.mean(), replicates, 0.4, 0.95)
    assert high > 1
    assert sampling_interval(values.mean(), replicates, 0.4, 0.95, PROPORTION) == (low, 1.0)


def test_a_resample_without_a_value_leaves_no_interval():
    found = sampling_interval(0.5, np.array([0.4, 0.6, math.nan]), 0.0, 0.95, PROPORTION)
    assert all(map(math.isnan, found))
