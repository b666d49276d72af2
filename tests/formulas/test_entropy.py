"""Entropy and its relatives against closed forms, scipy and brute force."""

import math

import numpy as np
import pytest
import scipy.stats

from ke_steps.formulas.entropy import dormant_fraction, entropy_nats, gini, quantities, top_share
from tests.invented.activity import random_activity


def test_alike_memories():
    found = quantities(np.full(200, 0.3), dormant_ratio=0.1)
    assert found["entropy_nats"] == pytest.approx(math.log(200))
    assert found["normalized_entropy"] == pytest.approx(1)
    assert found["effective_number"] == pytest.approx(200)
    assert found["gini"] == pytest.approx(0, abs=1e-12)
    assert found["top_1_percent_share"] == pytest.approx(0.01)
    assert found["dormant_fraction"] == 0


def test_one_memory_does_everything():
    found = quantities(np.eye(200)[3] * 5, dormant_ratio=0.1)
    assert found["entropy_nats"] == 0
    assert found["effective_number"] == 1
    assert found["gini"] == pytest.approx(1 - 1 / 200)
    assert found["top_1_percent_share"] == 1
    assert found["dormant_fraction"] == pytest.approx(199 / 200)


@pytest.mark.parametrize("r", [0.1, 0.5, 0.9])
def test_geometric_distribution(r):
    """H = -log(1 - r) - r log r / (1 - r) for p = (1 - r) rⁱ over all i; 2000 terms suffice."""
    expected = -math.log(1 - r) - r * math.log(r) / (1 - r)
    assert entropy_nats(r ** np.arange(2000.0)) == pytest.approx(expected)


def test_entropy_equals_scipy():
    activity = random_activity()
    found = entropy_nats(activity)
    np.testing.assert_allclose(found, scipy.stats.entropy(activity, axis=-1), rtol=1e-12)


def test_entropy_is_blind_to_scale_and_order():
    activity = random_activity(m=50)[0, 0]
    shuffled = np.random.default_rng(1).permutation(activity) * 7
    assert entropy_nats(shuffled) == pytest.approx(entropy_nats(activity))


def test_gini_is_the_mean_difference():
    activity = random_activity(m=50)[0, 0]
    differences = np.abs(activity[:, None] - activity[None, :]).mean()
    assert gini(activity) == pytest.approx(differences / (2 * activity.mean()))


@pytest.mark.parametrize(("m", "num_top"), [(64, 1), (100, 1), (101, 2), (350, 4)])
def test_top_share_rounds_up(m, num_top):
    activity = random_activity(m=m)[0, 0]
    expected = np.sort(activity)[-num_top:].sum() / activity.sum()
    assert top_share(activity, 0.01) == pytest.approx(expected)


def test_dormant_means_below_a_share_of_the_mean():
    activity = np.array([0.0, 0.1, 1.0, 2.9])
    assert dormant_fraction(activity, 0.1) == 0.25
    assert dormant_fraction(activity, 0.2) == 0.5
