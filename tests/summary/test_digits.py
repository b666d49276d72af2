"""Digits that an interval supports."""

from __future__ import annotations

import math
import random
from decimal import ROUND_HALF_EVEN, Context, Decimal

import pytest

from ke_steps.summary.digits import decimals_of
from ke_steps.summary.quantities import number, show

NONE = (math.nan, math.nan)


@pytest.mark.parametrize(
    ("low", "high", "unit", "decimals"),
    [
        (-5.759, -5.563, "nats", 3),
        (23.093, 23.099, "nats", 4),
        (0.0, 2 * 0.0996, "nats", 2),
        (0.30, 0.43, "fraction", 1),
        (-0.069, 0.22, "points", 0),
        (1200.0, 1900.0, "", 0),
    ],
)
def test_the_half_width_has_two_digits(low: float, high: float, unit: str, decimals: int) -> None:
    assert decimals_of([(low, high)], unit) == decimals


def test_it_is_the_rounding_to_two_significant_digits() -> None:
    draw = random.Random(3)
    two = Context(prec=2, rounding=ROUND_HALF_EVEN)
    for _ in range(300):
        half_width = 10 ** draw.uniform(-4, 3)
        rounded = two.create_decimal(Decimal(half_width))
        wanted = max(0, -int(rounded.as_tuple().exponent))
        assert decimals_of([(-half_width, half_width)], "nats") == wanted


def test_of_several_the_median_counts_and_what_has_no_interval_does_not() -> None:
    widths = [(0.0, 0.0002), (0.0, 0.02), (0.0, 2.0)]
    assert decimals_of([*widths, NONE, (1.0, 1.0), (0.0, 1e-15)], "nats") == 3
    assert decimals_of([NONE, (1.0, 1.0)], "nats") is None
    assert decimals_of([], "nats") is None


def test_a_value_without_interval_has_the_digits_of_its_unit() -> None:
    assert [number(0.123456, unit) for unit in ("nats", "fraction", "points", "per step")] == [
        *("0.123", "12.3", "12.3", "0.12346")
    ]
    assert number(-1234.5678, "", 1) == "−1,234.6"
    assert show(0.5, "fraction", 0) == "50 %"
