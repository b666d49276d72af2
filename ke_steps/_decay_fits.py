"""Fits to curves of retention: R(t) = C - a ln t, and R(t) = exp(-k t).

A curve is a mean over passages at each t; it is fitted by least squares, each of its points
weighted by the passages in it, which is the same as a fit to all passages' own points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Array = NDArray[np.float64]

SHORTEST_RESOLVED = 0.01
"""An exponential with less than this left at the first t is not resolved by the curve."""


def weighted_curves(values: Array, weights: Array) -> tuple[Array, Array]:
    """Return the mean curves (B, T) of passages under each row of weights, and their weights.

    Args:
        values: (passages, T); NaN where a passage has no value.
        weights: (B, passages).
    """
    present = ~np.isnan(values)
    totals = weights @ present
    sums = weights @ np.where(present, values, 0.0)
    return np.divide(sums, totals, out=np.full(sums.shape, np.nan), where=totals > 0), totals


def fit_power_law(times: Array, curves: Array, weights: Array) -> tuple[Array, Array]:
    """Fit C - a ln t to curves (B, T) at times (T,) > 0; return a (B,) and R² (B,).

    Closed form of linear least squares. NaN without two times to fit.
    """
    shares = _shares(weights)
    filled = np.where(weights > 0, curves, 0.0)
    logs = np.log(times)
    log_means = shares @ logs
    offsets = logs - log_means[:, None]
    variances = (shares * offsets**2).sum(axis=1)
    slopes = _divide((shares * offsets * filled).sum(axis=1), variances)
    fitted = (shares * filled).sum(axis=1)[:, None] + slopes[:, None] * offsets
    return -slopes, _r_squared(filled, fitted, shares)


def fit_exponential(times: Array, curves: Array, weights: Array) -> tuple[Array, Array]:
    """Fit exp(-k t) to curves (B, T) at times (T,) > 0; return k (B,) per step and R² (B,).

    NaN without a time to fit, or where the curve is gone before the first.
    """
    shares = _shares(weights)
    filled = np.where(weights > 0, curves, 0.0)
    rates = np.array([_rate(times, *pair) for pair in zip(filled, shares, strict=True)])
    fitted = np.exp(-rates[:, None] * times)
    return rates, _r_squared(filled, fitted, shares)


def _rate(times: Array, curve: Array, shares: Array) -> float:
    used = shares > 0
    if not used.any():
        return np.nan
    t, y, root = times[used] / times[used].mean(), curve[used], np.sqrt(shares[used])

    def residuals(rate: Array) -> Array:
        return root * (np.exp(-rate * t) - y)

    def slopes(rate: Array) -> Array:
        return (-root * t * np.exp(-rate * t))[:, None]

    with np.errstate(over="ignore"):  # a step too far, which the solver takes back
        result = optimize.least_squares(residuals, [1.0], jac=slopes, method="lm", max_nfev=50)
    rate = float(result.x[0])
    is_resolved = result.success and np.exp(-rate * t.min()) >= SHORTEST_RESOLVED
    return rate / times[used].mean() if is_resolved else np.nan


def _shares(weights: Array) -> Array:
    return _divide(weights, weights.sum(axis=1, keepdims=True))


def _r_squared(curves: Array, fitted: Array, shares: Array) -> Array:
    means = (shares * curves).sum(axis=1, keepdims=True)
    left = (shares * (curves - fitted) ** 2).sum(axis=1)
    return 1 - _divide(left, (shares * (curves - means) ** 2).sum(axis=1))


def _divide(numerator: Array, denominator: Array) -> Array:
    shape = np.broadcast(numerator, denominator).shape
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator > 0)
