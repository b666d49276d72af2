"""From single runs to means and differences with honest intervals.

Two errors meet in a mean over seeds. The bootstrap error, over groups of text, passages or items,
is common to all seeds, which see the same ones, and does not shrink with more of them. The error
between seeds does; two or three seeds cannot tell how large it is at one checkpoint, so that its
variance is pooled over all trained checkpoints and variants of a model and recipe, and Student's t
with the Welch-Satterthwaite degrees of freedom pays for what is still unsure. With one seed it is
unknown, and the interval holds the bootstrap error alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats


class Estimate(NamedTuple):
    """A mean or a difference with its interval; all NaN when there is nothing to estimate."""

    value: float
    low: float
    high: float

    def __neg__(self) -> Estimate:
        return Estimate(-self.value, -self.high, -self.low)


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


class SeedSpread(NamedTuple):
    """The variance of a value between seeds, and its degrees of freedom."""

    variance: float
    freedom: int


def pooled_spread(runs: pd.DataFrame) -> SeedSpread:
    """Return the spread within each step and variant, pooled; (0, 0) when all have one seed."""
    states = runs.groupby(["step", "variant"])["value"]
    freedom = int((states.count() - 1).sum())
    deviations = runs["value"] - states.transform("mean")
    return SeedSpread(float((deviations**2).sum()) / freedom if freedom else 0.0, freedom)


def mean_of(runs: pd.DataFrame, spread: SeedSpread, confidence: float) -> Estimate:
    """Return the mean over seeds of ``runs``: one row per seed with value, low and high."""
    if runs.empty:
        return UNKNOWN
    sampled = _bootstrap_variance(runs, confidence)
    value = float(runs["value"].mean())
    return _interval(value, sampled, spread.variance / len(runs), spread.freedom, confidence)


def difference_of(
    left: pd.DataFrame, right: pd.DataFrame, spread: SeedSpread, confidence: float
) -> Estimate:
    """Return the mean of left minus the mean of right.

    Their errors count as independent, although both answer the same probes and items: the interval
    is too wide rather than too narrow.
    """
    if left.empty or right.empty:
        return UNKNOWN
    sampled = _bootstrap_variance(left, confidence) + _bootstrap_variance(right, confidence)
    seeded = spread.variance / len(left) + spread.variance / len(right)
    value = float(left["value"].mean() - right["value"].mean())
    return _interval(value, sampled, seeded, spread.freedom, confidence)


def _bootstrap_variance(runs: pd.DataFrame, confidence: float) -> float:
    half_widths = (runs["high"] - runs["low"]).to_numpy(float) / 2
    return float(np.mean((half_widths / stats.norm.ppf((1 + confidence) / 2)) ** 2))


def _interval(
    value: float, sampled: float, seeded: float, freedom: int, confidence: float
) -> Estimate:
    total = sampled + seeded
    effective = freedom * (total / seeded) ** 2 if seeded > 0 else math.inf
    half_width = float(stats.t.ppf((1 + confidence) / 2, effective)) * math.sqrt(total)
    return Estimate(value, value - half_width, value + half_width)
