"""The bootstrap, as weights: one matrix of resampling weights serves every statistic of a sample.

Replicates of a mean are ``weights @ values``; a statistic of means is computed from those, so that
ratios and entropies stay paired. Intervals are *basic* (reflected): a plug-in entropy of a resample
is biased downwards, and the reflection puts that bias on the right side of the estimate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
