"""How many digits of a number are told: as many as its interval supports."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

SHOWN_IN_PERCENT = ("fraction", "points")
"""Units of values that are a hundredth of what is shown."""

LEAST_HALF_WIDTH = 1e-5
"""Less, as it is shown, is no interval but the error of the arithmetic."""


def decimals_of(intervals: Iterable[tuple[float, float]], unit: str) -> int | None:
    """Return how many decimals numbers that are read together have; None without an interval.

    Two significant digits of the half-width of their intervals, of the median where there are
    several; a value and its bounds have equally many.

    Args:
        intervals: low and high of each number; NaN where it has none.
        unit: of the values, which decides how they are shown.
    """
    scale = 100 if unit in SHOWN_IN_PERCENT else 1
    half_widths = [scale * (high - low) / 2 for low, high in intervals]
    known = [width for width in half_widths if width >= LEAST_HALF_WIDTH]
    if not known:
        return None
    _, _, exponent = f"{median(known):.1e}".partition("e")
    return max(0, 1 - int(exponent))
