"""One rule for every verdict."""

from __future__ import annotations

import math

import pytest

from ke_steps.claims.estimates import Estimate
from ke_steps.claims.findings import verdict


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([(1, 0.5, 1.5), (2, 1, 3)], "supported"),
        ([(1, 0.5, 1.5), (-1, -2, -0.1)], "not supported"),
        ([(1, 0.5, 1.5), (0, -1, 1)], "inconclusive"),
        ([(math.nan, math.nan, math.nan)], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_one_rule_for_every_verdict(
    intervals: list[tuple[float, float, float]], expected: str
) -> None:
    assert verdict([Estimate(*interval) for interval in intervals]) == expected
