"""Numbers as a reader sees them first: to one digit of their interval, where tables tell two."""

from __future__ import annotations

import math

from ke_steps.summary.digits import LEAST_HALF_WIDTH, SHOWN_IN_PERCENT
from ke_steps.summary.quantities import number

EVEN = 1.25
"""A half of an interval that is longer than the other by no more is told as ±."""


def places_for(uncertainty: float) -> int:
    """Return the decimal places that tell one digit of it, or two where the first is a 1."""
    exponent = math.floor(math.log10(uncertainty))
    is_one = uncertainty / 10**exponent < 1.95
    return max(0, is_one - exponent)


def rounded(value: float, uncertainty: float, unit: str) -> str:
    """Write a value without its unit, to the places of an uncertainty; fractions in percent.

    Without one, not a number or next to 0, as tables write it.
    """
    scale = 100 if unit in SHOWN_IN_PERCENT else 1
    if math.isnan(uncertainty) or scale * uncertainty < LEAST_HALF_WIDTH:
        return number(value, unit)
    words = f"{scale * value:.{places_for(scale * uncertainty)}f}"
    return words.replace("-", "−", 1) if float(words) else words.removeprefix("-")


def with_interval(value: float, low: float, high: float, unit: str) -> str:
    """Write a value with half its interval, or the interval itself where that is not even.

    Numbers that are not known are NaN: a value is then a dash, and stands alone without interval.
    """
    if math.isnan(value):
        return "–"
    half = (high - low) / 2
    told = rounded(value, half, unit)
    if math.isnan(half) or low == high:
        return told
    above, below = high - value, value - low
    if max(above, below) <= EVEN * min(above, below):
        return f"{told} ± {rounded(half, half, unit)}"
    return f"{told} [{rounded(low, half, unit)}, {rounded(high, half, unit)}]"
