"""Algorithm 1, and the same multipliers on other memories."""

import numpy as np
import pytest
import torch

from ke_steps.formulas.multipliers import permuted, upside_down, waking_multipliers
from ke_steps.job.errors import UserError
from tests.invented.activity import random_activity


def multipliers(activity, quantile=0.5, boost=2.0, max_multiplier=None):
    return waking_multipliers(
        activity, quantile=quantile, boost=boost, max_multiplier=max_multiplier
    )


@pytest.mark.parametrize("quantile", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("boost", [0.5, 2.0])
def test_equals_the_algorithm_memory_by_memory(quantile, boost):
    activity = random_activity()[0, 0]
    threshold = float(torch.quantile(torch.from_numpy(activity), quantile))
    found = multipliers(activity, quantile, boost)
    for multiplier, c in zip(found, activity, strict=True):
        assert multiplier == (pytest.approx(boost * activity.mean() / c) if c <= threshold else 1)


def test_woken_memories_reach_q_times_the_mean():
    activity = random_activity()[0, 0]
    woken = activity <= np.quantile(activity, 0.5)
    found = multipliers(activity) * activity
    np.testing.assert_allclose(found[woken], 2 * activity.mean())
    np.testing.assert_array_equal(found[~woken], activity[~woken])


def test_the_threshold_itself_is_woken():
    found = multipliers(np.array([1.0, 2.0, 3.0]), quantile=0.5, boost=1.0)
    np.testing.assert_allclose(found, [2.0, 1.0, 1.0])
    found = multipliers(np.array([1.0, 2.0, 6.0]), quantile=0.5, boost=1.0)
    np.testing.assert_allclose(found, [3.0, 1.5, 1.0])


def test_cap():
    activity = np.array([0.001, 0.5, 1.0, 4.0])
    found = multipliers(activity, boost=1.0, max_multiplier=8.0)
    np.testing.assert_allclose(found, [8.0, activity.mean() / 0.5, 1.0, 1.0])


def test_dead_memories_need_a_cap():
    activity = np.array([0.0, 0.0, 1.0, 4.0])
    with pytest.raises(UserError, match="max_multiplier: is null, but 2 memories"):
        multipliers(activity)
    found = multipliers(activity, max_multiplier=8.0)
    np.testing.assert_allclose(found, [8.0, 8.0, 1.0, 1.0])


@pytest.mark.parametrize("cap", [None, 8.0])
def test_a_dead_layer_is_left_as_it_is(cap):
    assert multipliers(np.zeros(50), max_multiplier=cap).tolist() == [1.0] * 50


def test_draws_permute_each_layer_on_its_own():
    given = np.arange(1.0, 61.0).reshape(3, 20)
    draws = [permuted(given, draw) for draw in range(5)]
    for found in draws:
        np.testing.assert_array_equal(np.sort(found, axis=1), given)
        orders = {tuple(np.argsort(row)) for row in found}
        assert len(orders) == 3
    assert len({found.tobytes() for found in draws}) == 5
    assert permuted(given, 3).tobytes() == draws[3].tobytes()


def test_permuted_multipliers_fall_on_every_memory_alike():
    """Over many draws each of 4 memories has the one multiplier in a quarter of them."""
    given = np.array([[9.0, 1.0, 1.0, 1.0]])
    hits = sum(permuted(given, draw) == 9 for draw in range(1000))
    assert abs(hits - 250).max() < 5 * np.sqrt(1000 * 3 / 16)


def test_upside_down_memory_by_memory():
    activity = random_activity(num_layers=3, m=21)[:, 0]
    given = np.stack([multipliers(layer) for layer in activity])
    found = upside_down(given, activity)
    for row, c, s in zip(found, activity, given, strict=True):
        order = sorted(range(len(c)), key=lambda i: c[i])
        expected = {order[-1 - rank]: s[i] for rank, i in enumerate(order)}
        assert row.tolist() == [expected[i] for i in range(len(c))]
    assert (found.argmax(axis=1) == activity.argmax(axis=1)).all()
