"""The bootstrap, as weights: one matrix of resampling weights serves every statistic of a sample.

Replicates of a mean are ``weights @ values``; a statistic of means is computed from those, so that
ratios and entropies stay paired. Intervals are *basic* (reflected): a plug-in entropy of a resample
is biased downwards, and the reflection puts that bias on the right side of the estimate. None
leaves the bounds of its quantity, and none is empty where nothing varies only because the units
are few: a proportion of which no unit, or every one, is in the sample has the exact binomial one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bounds = tuple[float, float]
ANYTHING: Bounds = (-math.inf, math.inf)
PROPORTION: Bounds = (0.0, 1.0)
NOT_NEGATIVE: Bounds = (0.0, math.inf)
NOT_POSITIVE: Bounds = (-math.inf, 0.0)
AT_MOST_ONE: Bounds = (-math.inf, 1.0)
CORRELATION: Bounds = (-1.0, 1.0)
"""What a quantity can be."""

ROUNDING = 1e-12
"""Numbers that differ by less, relative to what they were computed from, are one and the same."""


def bootstrap_weights(num_samples: int, num_bootstrap: int, seed: int) -> NDArray[np.float64]:
    """Return weights (num_bootstrap, num_samples), rows summing to 1: draws with replacement."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(
        num_samples, np.full(num_samples, 1 / num_samples), size=num_bootstrap
    )
    return counts / num_samples


def basic_interval(
    estimate: ArrayLike, replicates: ArrayLike, confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (low, high) of the basic bootstrap interval; replicates run along axis 0."""
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(np.asarray(replicates, dtype=np.float64), [tail, 1 - tail], axis=0)
    doubled = 2 * np.asarray(estimate, dtype=np.float64)
    return doubled - upper, doubled - lower


def sampling_interval(
    value: float,
    replicates: ArrayLike,
    unresolved: float,
    confidence: float,
    bounds: Bounds = ANYTHING,
) -> tuple[float, float]:
    """Return (low, high) of the basic bootstrap interval, or of what its units cannot resolve.

    Args:
        value: the estimate.
        replicates: (num_bootstrap,), of the same unit.
        unresolved: half the interval where no resample differs from another: 0 where such a value
            is exact, ``unresolved_proportion`` for proportions.
        confidence: of the interval.
        bounds: that the quantity cannot leave; so neither does its interval.

    Returns:
        NaN bounds where some resample leaves the value undefined.
    """
    if np.ptp(replicates) <= ROUNDING * abs(value):
        low, high = value - unresolved, value + unresolved
    else:
        low, high = map(float, basic_interval(value, replicates, confidence))
    return float(np.clip(low, *bounds)), float(np.clip(high, *bounds))


def unresolved_proportion(num_units: int, confidence: float) -> float:
    """Return the largest proportion of which a sample may hold no unit: the exact binomial bound.

    Clopper & Pearson (1934): 0 of n units have the interval from 0 to 1 - (α/2)^(1/n), and n of n
    that from (α/2)^(1/n) to 1, with α = 1 - confidence.
    """
    return float(1 - ((1 - confidence) / 2) ** (1 / num_units))
