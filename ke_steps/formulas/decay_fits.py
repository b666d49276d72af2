"""How fast what is retained fades: the constants of two laws, from how each probe fades by itself.

R(t) = C - a ln t, and R(t) = c exp(-k t). Passages enter at different times, so that only the early
ones are seen at large t: a line through the means over passages at each t would take differences
between passages for decay. Hence a and k are common to all, and C and c are a probe's own (fixed
effects): what counts is how a probe differs from itself at other times.

``points`` are the rows of ``decay.measure`` to be fitted: ``probe_id``, ``passage`` (its column of
the weights), ``steps_since`` > 0, ``retained``, ``gain``. Squares are of R times the gain, that is
of nats, as ℓ is equally sure for all probes: what is left of next to no gain is all noise.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import elementwise

Array = NDArray[np.float64]

MAX_FOLD = 100.0
"""Rates are looked for between a rise by this factor over the longest curve and as steep a fall
between the two closest of a probe's points; beyond, the points do not resolve the rate."""


def fit_power_law(points: pd.DataFrame, weights: Array) -> tuple[Array, Array]:
    """Fit R(t) = C - a ln t under weights (B, passages); return a (B,) and R² (B,).

    Least squares: minus the slope of a probe's deviations of R from its own mean on those of ln t,
    both times its gain. NaN where no probe has two points.
    """
    gain = points["gain"].to_numpy()
    x, y = (
        gain * _within(points, values)
        for values in (np.log(points["steps_since"]), points["retained"])
    )
    sums = _by_passage(points, np.stack([x * x, x * y, y * y], axis=1), weights)
    xx, xy, yy = (weights @ sums).T
    return -_divide(xy, xx), _divide(xy**2, xx * yy)


def fit_exponential(points: pd.DataFrame, weights: Array) -> tuple[Array, Array]:
    """Fit R(t) = c exp(-k t) under weights (B, passages); return k (B,) per step and R² (B,).

    Least squares over k and c ≥ 0: what falls below nothing left, exponentially, has not risen.
    Given k, each c has a closed form, so that what is left to search is one number (variable
    projection). R² is the share of the variance within probes, as for the power law; below 0 where
    the law fits worse than each probe's mean. NaN where no probe has two points, or the points do
    not resolve the rate (``MAX_FOLD``).
    """
    undefined = np.full(len(weights), np.nan)
    steps = points.groupby("probe_id")["steps_since"]
    # c takes up where a probe's time begins; so no power of e is beyond its bounds
    since = points["steps_since"] - steps.transform("min")
    gaps = points.sort_values(["probe_id", "steps_since"]).groupby("probe_id")["steps_since"].diff()
    if not since.any():
        return undefined, undefined
    left = points["retained"] * points["gain"]
    curves = points.assign(since=since, left=left).pivot(
        index=["passage", "probe_id"], columns="since", values="left"
    )
    squares = _Squares(curves, weights)
    grid = _rates(gaps.min(), since.max())
    lowest = squares.on_grid(grid).argmin(axis=1)
    is_inside = (lowest > 0) & (lowest < len(grid) - 1)
    inner = np.clip(lowest, 1, len(grid) - 2)
    found = elementwise.find_minimum(
        squares.at,
        (grid[inner - 1], grid[inner], grid[inner + 1]),
        args=(np.arange(len(weights)),),
    )
    rates = np.where(is_inside & found.success, found.x, np.nan)
    y = _within(points, left)
    variances = (weights @ _by_passage(points, (y * y)[:, None], weights))[:, 0]
    return rates, 1 - _divide(np.where(np.isnan(rates), np.nan, found.f_x), variances)


class _Squares:
    """The weighted sum of squares that c exp(-k t) leaves, each probe's c ≥ 0 being the best."""

    def __init__(self, curves: pd.DataFrame, weights: Array) -> None:
        """Take what is left, in nats, by passage, probe and steps since its first point."""
        self._times = curves.columns.to_numpy(dtype=np.float64)
        self._present = curves.notna().to_numpy(dtype=np.float64)
        self._values = curves.fillna(0.0).to_numpy()
        self._weights = weights[:, curves.index.get_level_values("passage")]

    def on_grid(self, rates: Array) -> Array:
        """Return them (B, K) for every row of weights at each of the rates (K,)."""
        return self._weights @ self._of_probes(rates)

    def at(self, rates: Array, rows: NDArray[np.int64]) -> Array:
        """Return them for rates (…,), each with its row of the weights (…,)."""
        left = self._of_probes(rates.ravel())
        return np.einsum("bp,pb->b", self._weights[rows.ravel()], left).reshape(rates.shape)

    def _of_probes(self, rates: Array) -> Array:
        powers = np.exp(-rates * self._times[:, None])
        fitted = np.maximum(self._values @ powers, 0) ** 2 / (self._present @ powers**2)
        return (self._values**2).sum(axis=1, keepdims=True) - fitted


def _rates(shortest_gap: float, longest_span: float) -> Array:
    steepest = np.log(MAX_FOLD)
    slowest = 1e-3 / longest_span
    falling = np.geomspace(slowest, steepest / shortest_gap, 200)
    rising = -np.geomspace(slowest, steepest / longest_span, 60)
    return np.concatenate([rising[::-1], [0.0], falling])


def _within(points: pd.DataFrame, values: pd.Series) -> Array:
    """Return the deviations (N,) of values from their probe's mean."""
    return (values - values.groupby(points["probe_id"]).transform("mean")).to_numpy()


def _by_passage(points: pd.DataFrame, values: Array, weights: Array) -> Array:
    """Return the sums (passages, K) of values (N, K) over the points of each passage."""
    sums = np.zeros((weights.shape[1], values.shape[1]))
    np.add.at(sums, points["passage"].to_numpy(), values)
    return sums


def _divide(numerator: Array, denominator: Array) -> Array:
    shape = np.broadcast(numerator, denominator).shape
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator > 0)
