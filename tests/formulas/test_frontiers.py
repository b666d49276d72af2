"""Frontiers against closed forms, and brute force on a fine grid."""

from __future__ import annotations

import numpy as np
import pytest

from ke_steps.formulas.frontiers import dominated_area, frontier, mean_between, overlap

LINE = ([0.9, 0.7, 0.5, 0.3], [-8.0, -7.0, -6.0, -5.0])
"""K = -3.5 - 5 P."""


def brute(accuracy, knowledge, levels, steps=20_001):
    """The frontier by points laid densely on the lines between neighbours."""
    number = len(accuracy)
    places = np.linspace(0, number - 1, steps)
    old = np.interp(places, np.arange(number), accuracy)
    new = np.interp(places, np.arange(number), knowledge)
    return np.array([new[old >= level].max(initial=-np.inf) for level in levels])


def test_on_a_line_it_is_the_line_and_flat_before_it():
    assert frontier(*LINE, [0.0, 0.3, 0.4, 0.6, 0.9]) == pytest.approx(
        [-5.0, -5.0, -5.5, -6.5, -8.0]
    )
    assert np.isnan(frontier(*LINE, [0.91]))


def test_a_point_that_another_dominates_does_not_matter():
    accuracy, knowledge = [0.9, 0.5, 0.3], [-8.0, -6.0, -7.0]
    assert frontier(accuracy, knowledge, [0.1, 0.3, 0.5, 0.7]) == pytest.approx([-6, -6, -6, -7])
    rising = frontier([0.5, 0.9], [-8.0, -6.0], [0.5, 0.7, 0.9])
    assert rising == pytest.approx([-6.0, -6.0, -6.0])


@pytest.mark.parametrize("seed", range(20))
def test_any_points_agree_with_brute_force(seed):
    generator = np.random.default_rng(seed)
    number = generator.integers(1, 7)
    accuracy, knowledge = generator.uniform(0, 1, number), generator.uniform(-9, -4, number)
    levels = np.linspace(0, accuracy.max() - 1e-9, 4001)
    dense = brute(accuracy, knowledge, levels)
    assert frontier(accuracy, knowledge, levels) == pytest.approx(dense, abs=3e-3)
    chance, unlearned = generator.uniform(0, 0.5), generator.uniform(-9, -6)
    grid = np.linspace(chance, max(accuracy.max() - 1e-9, chance), 4001)
    above = np.maximum(brute(accuracy, knowledge, grid) - unlearned, 0)
    area = dominated_area(accuracy, knowledge, chance, unlearned)
    assert area == pytest.approx(np.trapezoid(above, grid), abs=3e-3)
    low, high = np.sort(generator.uniform(0, accuracy.max(), 2))
    inside = brute(accuracy, knowledge, np.linspace(low, high, 4001)).mean()
    mean = mean_between(accuracy, knowledge, np.float64(low), np.float64(high))
    assert mean == pytest.approx(inside, abs=3e-3)


def test_the_area_of_a_line_is_exact():
    """Flat at -5 from 0.25 to 0.3, then a triangle's worth down to -8 at 0.9, all above -9."""
    assert dominated_area(*LINE, 0.25, -9.0) == pytest.approx(0.05 * 4 + 0.6 * (4 + 1) / 2)
    # the reference cuts the line at P = 0.5
    assert dominated_area(*LINE, 0.25, -6.0) == pytest.approx(0.05 * 1 + 0.2 * 1 / 2)
    assert dominated_area(*LINE, 0.95, -9.0) == 0.0
    assert dominated_area(*LINE, 0.25, -4.0) == pytest.approx(0.0, abs=1e-12)


def test_one_rate_alone_is_a_rectangle():
    assert dominated_area([0.75], [-6.0], 0.25, -8.0) == pytest.approx(0.5 * 2)


def test_the_mean_over_a_range_and_at_one_point():
    assert mean_between(*LINE, np.float64(0.5), np.float64(0.9)) == pytest.approx(-7.0)
    assert mean_between(*LINE, np.float64(0.5), np.float64(0.5)) == pytest.approx(-6.0)
    saturated = mean_between([1.0, 1.0], [-8.0, -6.0], np.float64(1.0), np.float64(1.0))
    assert saturated == pytest.approx(-6.0)


def test_ranges_that_do_not_meet_share_nothing():
    low, high = overlap([[0.9, 0.5], [0.9, 0.7]], [[0.6, 0.2], [0.6, 0.2]])
    assert low[0] == 0.5
    assert high[0] == 0.6
    assert np.isnan([low[1], high[1]]).all()
    assert np.isnan(mean_between([[0.9, 0.7]], [[-8.0, -6.0]], low[1:], high[1:])).all()


def test_many_resamples_at_once_are_each_by_itself():
    generator = np.random.default_rng(0)
    accuracy, knowledge = generator.uniform(0, 1, (5, 2, 4)), generator.uniform(-9, -4, (5, 2, 4))
    chance, unlearned = np.full((5, 2), 0.2), generator.uniform(-9, -8, (5, 2))
    together = dominated_area(accuracy, knowledge, chance, unlearned)
    assert together.shape == (5, 2)
    for place in np.ndindex(5, 2):
        alone = dominated_area(accuracy[place], knowledge[place], 0.2, unlearned[place])
        assert together[place] == pytest.approx(float(alone))


def test_it_moves_continuously_as_one_point_comes_to_dominate_another():
    heights = [
        float(mean_between([0.9, 0.6, 0.3], [-7.0, middle, -5.0], np.float64(0.3), np.float64(0.9)))
        for middle in (-7.0001, -6.9999)
    ]
    assert heights[0] == pytest.approx(heights[1], abs=1e-3)
