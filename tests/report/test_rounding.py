"""Numbers told to what their interval supports."""

from __future__ import annotations

import math

import pytest

from ke_steps.report.rounding import places_for, rounded, with_interval


@pytest.mark.parametrize(
    ("uncertainty", "places"),
    [(0.027, 2), (0.012, 3), (0.096, 2), (0.3, 1), (1.4, 1), (2.6, 0), (240.0, 0), (0.0004, 4)],
)
def test_one_digit_of_the_uncertainty_is_told_or_two_after_a_one(
    uncertainty: float, places: int
) -> None:
    assert places_for(uncertainty) == places


@pytest.mark.parametrize(
    ("value", "low", "high", "unit", "told"),
    [
        (22.7368, 22.7116, 22.7662, "nats", "22.74 ± 0.03"),
        (-3.21, -3.41, -3.01, "nats", "−3.2 ± 0.2"),
        (0.1234, 0.0734, 0.1734, "fraction", "12 ± 5"),
        (0.1234, 0.1084, 0.1384, "points", "12.3 ± 1.5"),
        (0.98, 0.9, 1.0, "fraction", "98 [90, 100]"),
        (0.0001, -0.05, 0.0502, "nats", "0.00 ± 0.05"),
        (-0.0001, -0.0502, 0.05, "nats", "0.00 ± 0.05"),
        (22.7368, math.nan, math.nan, "nats", "22.737"),
        (0.25, 0.25, 0.25, "fraction", "25.0"),
        (1e-8, -1e-8, 3e-8, "nats", "0.000 ± 0.000"),
        (math.nan, math.nan, math.nan, "nats", "–"),
    ],
)
def test_a_value_stands_beside_half_its_interval_or_the_whole_where_it_is_uneven(
    value: float, low: float, high: float, unit: str, told: str
) -> None:
    assert with_interval(value, low, high, unit) == told


def test_without_an_uncertainty_a_value_is_told_as_in_tables() -> None:
    assert rounded(-0.25, math.nan, "fraction") == "−25.0"
    assert rounded(1.23456, 0.0, "nats") == "1.235"
