"""The bootstrap against scipy's."""

import numpy as np
import scipy.stats

from ke_steps.formulas.bootstrap import basic_interval, bootstrap_weights


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
