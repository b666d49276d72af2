"""Means over seeds and contrasts of states: intervals cover, and pairing makes them narrow."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ke_steps.claims.stages import line_through
from ke_steps.formulas.bootstrap import basic_interval, bootstrap_weights
from ke_steps.formulas.uncertainty import (
    NO_SEEDS,
    Estimate,
    Sampled,
    SeedSpread,
    combined,
    contrast,
    holm,
    mean,
    spread_beside_seeds,
    spread_within_states,
    student_quantile,
)
from ke_steps.job.errors import UserError

NORMAL = stats.norm.ppf(0.975)


def sampled(values, weights, units="passages"):
    return Sampled(float(values.mean()), weights @ values, 0.0, units)


def test_a_mean_over_seeds_adds_both_errors():
    values = np.array([1.0, 3.0])
    intervals = np.array([[0.5, 1.5], [2.5, 3.5]])
    assert mean(values, intervals, NO_SEEDS, 0.95)[:3] == pytest.approx((2.0, 1.5, 2.5))
    found = mean(values, intervals, SeedSpread(2.0, 1_000_000), 0.95)
    error = math.hypot(0.5 / NORMAL, 1.0)
    assert found.high - 2 == pytest.approx(NORMAL * error, rel=1e-4)
    few = mean(values, intervals, SeedSpread(2.0, 1), 0.95)
    assert few.high - 2 > 2 * (found.high - 2)


def test_sides_of_a_sampling_interval_stay_as_they_are_without_a_spread_of_seeds():
    assert combined(2.0, (1.0, 5.0), NO_SEEDS, 0.95)[:3] == pytest.approx((2.0, 1.0, 5.0))


def test_nothing_known_gives_no_interval():
    found = combined(2.0, (2.0, 2.0), NO_SEEDS, 0.95)
    assert found.value == 2.0
    assert math.isnan(found.low) and math.isnan(found.high)
    assert math.isnan(found.p_value(0, 0.95))


def test_the_spread_between_seeds_is_pooled_over_states():
    values = pd.DataFrame([[0.0, 2.0], [10.0, 14.0], [5.0, np.nan]])
    assert spread_within_states(values) == pytest.approx((5.0, 2))
    assert spread_within_states(values.iloc[:, :1]) == NO_SEEDS


def test_what_a_seed_does_to_all_states_is_in_no_difference():
    states, seeds = np.array([[0.0], [3.0], [5.0]]), np.array([[0.0, 10.0, -4.0]])
    assert spread_beside_seeds(pd.DataFrame(states + seeds)).variance == pytest.approx(0, abs=1e-20)
    assert spread_within_states(pd.DataFrame(states + seeds)).variance > 50


def test_the_spread_beside_seeds_is_that_of_the_noise():
    noise = np.random.default_rng(0)
    found = [
        spread_beside_seeds(pd.DataFrame(noise.normal(size=(4, 3)) + noise.normal(size=(1, 3))))
        for _ in range(400)
    ]
    assert {spread.freedom for spread in found} == {6}
    assert np.mean([spread.variance for spread in found]) == pytest.approx(1, abs=0.1)


def test_a_run_that_is_missing_leaves_its_states_and_seeds():
    values = pd.DataFrame([[0.0, 1.0], [2.0, np.nan], [4.0, 6.0]])
    # two states share two seeds: one degree of freedom, four residuals of (1 - 2) / 4
    assert spread_beside_seeds(values) == pytest.approx((0.25, 1))


def test_a_difference_is_that_of_a_direct_paired_bootstrap():
    generator = np.random.default_rng(1)
    passages = generator.normal(size=(40, 1)) * 5
    left, right = (passages[:, 0] + generator.normal(scale=0.2, size=40) for _ in range(2))
    weights = bootstrap_weights(40, 2000, seed=3)
    found = contrast([1, -1], [[sampled(left, weights)], [sampled(right, weights)]], NO_SEEDS, 0.95)
    directly = basic_interval((left - right).mean(), weights @ (left - right), 0.95)
    assert found[1:3] == pytest.approx(directly)
    unpaired = math.hypot(left.std(), right.std()) / math.sqrt(40)
    assert found.high - found.low < unpaired


def test_different_units_are_not_compared():
    weights = bootstrap_weights(5, 100, seed=0)
    states = [[sampled(np.arange(5.0), weights, units)] for units in ("these", "those")]
    with pytest.raises(UserError, match="different passages, items or sequences"):
        contrast([1, -1], states, NO_SEEDS, 0.95)


def test_what_varies_nowhere_has_the_interval_that_its_units_allow():
    same = Sampled(1.0, np.ones(100), 0.05, "items")
    assert contrast([1, -1], [[same], [same]], NO_SEEDS, 0.95)[:3] == pytest.approx(
        (0, -0.05, 0.05)
    )


def test_equal_values_do_not_differ_by_their_rounding():
    """0.1 and 0.7, of which sums are not exact, through seven states of three seeds."""
    for value in (0.1, 0.7, -1e6 / 3):
        equal = pd.DataFrame(np.full((7, 3), value))
        for spread_of in (spread_beside_seeds, spread_within_states):
            assert spread_of(equal).variance == 0
        weights = bootstrap_weights(11, 50, seed=0)
        samples = [[sampled(np.full(11, value), weights) for _ in range(3)] for _ in range(7)]
        found = contrast(line_through(7), samples, spread_beside_seeds(equal), 0.95)
        assert found[:3] == (0, 0, 0)
        assert found.p_value(0.0, 0.95) == 1


@pytest.mark.parametrize("num_seeds", [2, 4])
def test_intervals_of_differences_cover(num_seeds):
    """Passages, seeds and noise drawn anew each time; the true difference is 0.3."""
    generator = np.random.default_rng(num_seeds)
    covered = []
    for _ in range(400):
        passages = generator.normal(size=(6, 1, 60)) + generator.normal(size=(1, 1, 60)) * 3
        seeds = generator.normal(size=(1, num_seeds, 1)) * 2
        noise = generator.normal(size=(6, num_seeds, 1)) * 0.3
        scores = passages + seeds + noise
        scores[0] += 0.3
        weights = bootstrap_weights(60, 300, seed=int(generator.integers(1e9)))
        spread = spread_beside_seeds(pd.DataFrame(scores.mean(axis=2)))
        states = [[sampled(of_seed, weights) for of_seed in scores[state]] for state in (0, 1)]
        low, high = contrast([1, -1], states, spread, 0.95)[1:3]
        covered.append(low <= 0.3 <= high)
    assert 0.91 <= np.mean(covered) <= 0.98


def test_p_values_agree_with_intervals():
    for value, low, high, freedom in [(1, 0.1, 2, 3), (-1, -1.5, 0.1, 8), (2, 0, 4, math.inf)]:
        found = Estimate(value, low, high, freedom)
        for null in np.linspace(-3, 5, 33):
            is_excluded = not low <= null <= high
            assert (found.p_value(null, 0.95) < 0.05 - 1e-12) == is_excluded
    assert Estimate(1, 0.1, 2, 3).p_value(0.1, 0.95) == pytest.approx(0.05)
    assert Estimate(0, -1, 1).p_value(0, 0.95) == 1
    with_t = Estimate(3.0, 3 - stats.t.ppf(0.975, 4), 3 + stats.t.ppf(0.975, 4), 4)
    assert with_t.p_value(0, 0.95) == pytest.approx(2 * stats.t.sf(3, 4))


def test_holm_is_holm():
    p_values = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    assert holm(p_values) == pytest.approx([0.03, np.nan, 0.06, 0.06, 0.02], nan_ok=True)
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("freedom", [1, 2.5, 7, 300.25, math.inf])
def test_quantiles_are_those_of_student_and_of_the_normal_distribution(freedom):
    for probability in (0.5, 0.9, 0.975, 0.9995):
        expected = stats.t.ppf(probability, freedom)
        assert student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9)


def test_the_spread_beside_seeds_is_that_of_all_effects_at_once() -> None:
    """Least squares with a column for every state and every seed, also where runs are missing."""
    generator = np.random.default_rng(5)
    for missing in (0.0, 0.2, 0.5, 0.8):
        values = generator.normal(size=(15, 4)) + 5 * generator.normal(size=(15, 1))
        values[generator.random(values.shape) < missing] = np.nan
        states, seeds = np.nonzero(~np.isnan(values))
        observed = values[states, seeds]
        design = np.hstack([states[:, None] == np.arange(15), seeds[:, None] == np.arange(4)])
        effects, _, rank, _ = np.linalg.lstsq(design.astype(float), observed, rcond=None)
        found = spread_beside_seeds(pd.DataFrame(values))
        assert found.freedom == len(observed) - rank
        squares = float(((observed - design @ effects) ** 2).sum())
        assert found.variance * found.freedom == pytest.approx(squares)
