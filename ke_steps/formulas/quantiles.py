"""Quantile functions: a distribution in 101 numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

QUANTILES = np.concatenate([[0.001], np.arange(1, 100) / 100, [0.999]])


def relative_quantiles(activities: Array) -> Array:
    """Return the quantile functions (…, 101) of activities (…, m), relative to their means.

    NaN where none has any activity.
    """
    means = activities.mean(axis=-1, keepdims=True)
    found = np.moveaxis(np.quantile(activities, QUANTILES, axis=-1), 0, -1)
    relative: Array = found / np.where(means == 0, np.nan, means)
    return relative
