"""What names resamples: equal for the same ones alone."""

from __future__ import annotations

import pytest

from ke_steps.artefacts.replicates import name_of_units


@pytest.mark.parametrize("other", [([1, 2, 3], 200, 0), ([3, 2, 1], 100, 0), ([1, 2, 3], 100, 1)])
def test_other_units_order_number_or_seed_is_another_resample(other: tuple[list[int], int, int]):
    assert name_of_units([1, 2, 3], 100, 0) == name_of_units([1, 2, 3], 100, 0)
    assert name_of_units([1, 2, 3], 100, 0) != name_of_units(*other)
