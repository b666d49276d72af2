"""Means over seeds, differences and the spread between seeds, with their intervals."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from scipy import stats

from ke_steps.claims.estimates import SeedSpread, difference_of, mean_of, pooled_spread


def test_a_mean_over_seeds_adds_both_errors() -> None:
    runs = pd.DataFrame({"seed": [0, 1], "value": [1.0, 3.0], "low": [0.5, 2.5]})
    runs["high"] = runs["value"] + 0.5
    error = 0.5 / stats.norm.ppf(0.975)
    without = mean_of(runs, SeedSpread(0.0, 0), 0.95)
    assert without == pytest.approx((2.0, 1.5, 2.5))
    half_width = mean_of(runs, SeedSpread(2.0, 1_000_000), 0.95).high - 2
    assert half_width == pytest.approx(stats.norm.ppf(0.975) * math.sqrt(error**2 + 1), rel=1e-4)
    assert mean_of(runs, SeedSpread(2.0, 1), 0.95).high - 2 > 2 * half_width
    assert difference_of(runs, runs, SeedSpread(2.0, 9), 0.95).value == 0
    assert math.isnan(mean_of(runs.head(0), SeedSpread(0.0, 0), 0.95).value)


def test_the_spread_between_seeds_is_pooled_over_states() -> None:
    runs = pd.DataFrame(
        {"step": [1, 1, 2, 2], "variant": ["original"] * 4, "value": [0.0, 2.0, 10.0, 14.0]}
    )
    assert pooled_spread(runs) == SeedSpread(pytest.approx((2 + 8) / 2), 2)
    assert pooled_spread(runs.iloc[[0, 2]]) == SeedSpread(0.0, 0)
