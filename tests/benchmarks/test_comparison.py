"""Ratios, and whether repeats resolve a goal."""

from itertools import product

import numpy as np
import pytest
import torch

from benchmarks import comparison


def test_a_ratio_is_how_many_times_faster_and_of_pairs():
    assert comparison.ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    assert comparison.told([2.0, 3.0, 10.0]) == "3.000 (2.000 to 10.000)"


def test_the_interval_of_the_median_covers_as_often_as_it_says():
    values = list(range(1, 10))
    low, high = comparison.interval_of_median(values)
    # each of nine values is below the median or above it: at most 5 % of ways leave it outside
    below = [sum(signs) for signs in product((0, 1), repeat=9)]
    outside = np.mean([number < low or number >= high for number in below])
    narrower = np.mean([number < low + 1 or number >= high - 1 for number in below])
    assert outside <= 0.05 < narrower


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([1.01, 1.02, 1.03, 1.01, 1.02, 1.03], "met; median 1.020"),
        ([0.91, 0.92, 0.93, 0.91, 0.92, 0.93], "missed; median 0.920"),
        ([0.91, 1.02, 1.03, 1.01, 1.02, 1.03], "not resolved (median above)"),
        ([1.01, 0.92, 0.93, 0.91, 0.92, 0.93], "not resolved (median below)"),
        ([1.01, 1.02], "not resolved (median above)"),
    ],
)
def test_a_goal_is_met_missed_or_not_resolved(found, says):
    assert says in comparison.judged("a to b", found, 0.98)


def test_every_measurement_is_repeated_in_turn_and_in_both_orders():
    calls = []

    def measurement(name):
        def measure():
            calls.append(name)
            return np.array([len(calls), 0.0])

        return measure

    seconds = comparison.interleave(
        {name: measurement(name) for name in "ab"}, 2, torch.device("cpu"), lambda found: found[0]
    )
    assert calls == ["b", "a", "a", "b"]
    assert seconds == {"a": [2.0, 3.0], "b": [1.0, 4.0]}


def test_a_peer_runs_without_our_determinism_and_it_is_back_afterwards():
    torch.use_deterministic_algorithms(True)
    try:
        measure = comparison.with_torch_defaults(
            lambda: np.array([float(torch.are_deterministic_algorithms_enabled())])
        )
        assert measure().tolist() == [0.0]
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_peer_that_is_not_installed_is_said_so(capsys):
    assert not comparison.is_installed("a peer", "no-such-distribution")
    assert capsys.readouterr().out == f"a peer: {comparison.NOT_INSTALLED}\n"
