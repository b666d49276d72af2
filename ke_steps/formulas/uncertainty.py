"""One error bar for everything: means over seeds and contrasts of states, with their intervals.

Two errors meet in a mean over seeds. The *sampling* error, by a bootstrap over groups of text,
passages or items, is common to all seeds, which see the same ones, and does not shrink with more
of them. The error *between seeds* does; two or three seeds cannot tell how large it is at one
state, so that its variance is pooled over the trained states of a model and recipe, and Student's t
with the Welch-Satterthwaite degrees of freedom pays for what is still unsure. With one seed it is
unknown, and the interval holds the sampling error alone.

A *contrast* Σ c_s y_s of states s (a difference, a trend) is paired twice: on the units that were
resampled, because replicate b of every state is of the same resample, and on the seeds, because the
seed's own effect, common to all states, is taken out before the spread is pooled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from ke_steps.formulas.bootstrap import ROUNDING, sampling_interval
from ke_steps.job.errors import UserError

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """A value with its interval, NaN where there is none, and the interval's degrees of freedom."""

    value: float
    low: float
    high: float
    freedom: float = math.inf

    def __neg__(self) -> Estimate:
        return Estimate(-self.value, -self.high, -self.low, self.freedom)

    def p_value(self, null: float, confidence: float) -> float:
        """Return the two-sided p of a true value of ``null``.

        Below 1 - confidence exactly when the interval, which is at ``confidence``, excludes it.
        """
        side = self.value - self.low if self.value >= null else self.high - self.value
        if math.isnan(side) or side <= 0:
            return math.nan if math.isnan(side) else float(self.value == null)
        quantile = student_quantile((1 + confidence) / 2, self.freedom)
        return 2 * float(stats.t.sf(quantile * abs(self.value - null) / side, self.freedom))


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


class SeedSpread(NamedTuple):
    """The variance of a value between seeds, and its degrees of freedom."""

    variance: float
    freedom: int


NO_SEEDS = SeedSpread(0.0, 0)


def spread_within_states(values: pd.DataFrame) -> SeedSpread:
    """Return the spread around the mean of each state, pooled; (0, 0) when all have one seed.

    Args:
        values: (states, seeds), NaN where a state has no run of a seed.
    """
    known = values.notna().to_numpy()
    counts = known.sum(axis=1)
    freedom = int(np.maximum(counts - 1, 0).sum())
    if not freedom:
        return NO_SEEDS
    filled = np.where(known, values.to_numpy(float), 0.0)
    means = filled.sum(axis=1) / np.maximum(counts, 1)
    return _pooled(np.where(known, filled - means[:, None], 0.0), filled, freedom)


def spread_beside_seeds(values: pd.DataFrame) -> SeedSpread:
    """Return the spread around state and seed effects (least squares), pooled.

    What a seed does to all states alike is in no difference of states. (0, 0) without two seeds
    that two states share.

    Args:
        values: (states, seeds), NaN where a state has no run of a seed.
    """
    known = values.notna().to_numpy()
    observed = values.to_numpy(float)[known.any(axis=1)]
    known = known[known.any(axis=1)]
    if not len(known):
        return NO_SEEDS
    states, seeds = np.nonzero(known)
    # state effects are taken out first: there can be thousands of states, and their columns dense
    means = np.where(known, observed, 0.0).sum(axis=1) / known.sum(axis=1)
    shares = known / known.sum(axis=1, keepdims=True)
    left = observed[states, seeds] - means[states]
    design = (seeds[:, None] == np.arange(known.shape[1])) - shares[states]
    solution, _, rank, _ = np.linalg.lstsq(design, left, rcond=None)
    freedom = len(left) - len(known) - int(rank)
    if not freedom:
        return NO_SEEDS
    return _pooled(left - design @ solution, observed[states, seeds], freedom)


def _pooled(residuals: Array, observed: Array, freedom: int) -> SeedSpread:
    left = _beyond_rounding(residuals, float(np.abs(observed).max()))
    return SeedSpread(float((left**2).sum()) / freedom, freedom)


def _beyond_rounding(differences: ArrayLike, scale: float) -> Array:
    """Return differences, zero where they are the rounding of numbers as large as ``scale``.

    Equal values could otherwise be found to differ, by 1e-17 and beyond doubt.
    """
    found = np.asarray(differences, dtype=np.float64)
    return np.where(np.abs(found) <= ROUNDING * scale, 0.0, found)


def combined(
    value: float,
    sampled: tuple[float, float],
    spread: SeedSpread,
    confidence: float,
) -> Estimate:
    """Return a value with both errors: each side of a sampling interval widened by the seeds'.

    Args:
        value: the estimate.
        sampled: low and high of its sampling interval, at ``confidence``; both equal to ``value``
            where nothing was sampled, NaN where it is not known.
        spread: of ``value`` between seeds: its variance, and the degrees of freedom of that.
        confidence: of both intervals.

    Returns:
        NaN bounds where neither error is known.
    """
    low, high = sampled
    is_unknown = low == high and not spread.freedom
    if is_unknown or math.isnan(value) or math.isnan(low) or math.isnan(high):
        return Estimate(value, math.nan, math.nan)
    quantile = (1 + confidence) / 2
    normal = student_quantile(quantile, math.inf)
    (below, below_freedom), (above, above_freedom) = (
        _error(side / normal, spread) for side in (value - low, high - value)
    )
    return Estimate(
        value,
        value - student_quantile(quantile, below_freedom) * below,
        value + student_quantile(quantile, above_freedom) * above,
        min(below_freedom, above_freedom),
    )


@cache
def student_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t; of the normal distribution where ``freedom`` is infinite.

    As ``scipy.stats`` has them, without its checks, which take most of the time of a summary.
    """
    if math.isinf(freedom):
        return float(special.ndtri(probability))
    return float(special.stdtrit(freedom, probability))


def _error(sampled: float, spread: SeedSpread) -> tuple[float, float]:
    """Return the standard error on one side of an interval, and its degrees of freedom."""
    total = max(sampled, 0.0) ** 2 + spread.variance
    is_seeded = spread.variance > 0
    freedom = spread.freedom * (total / spread.variance) ** 2 if is_seeded else math.inf
    return math.sqrt(total), freedom


class Sampled(NamedTuple):
    """A value and its bootstrap replicates; replicate b of two of them is of the same resample."""

    value: float
    replicates: Array
    unresolved: float
    """Half the interval where nothing varies in any resample: what so few units cannot tell."""
    units: str
    """What names the units and their order: two with the same are paired."""


def mean(values: Array, intervals: Array, spread: SeedSpread, confidence: float) -> Estimate:
    """Return the mean over the seeds of one state.

    Args:
        values: (seeds,).
        intervals: (seeds, 2), their sampling intervals, of the same units: the error that they have
            in common is the root mean square of each side.
        spread: of a single seed (``spread_within_states``).
        confidence: of the intervals.
    """
    value = float(values.mean())
    offsets = intervals - values[:, None]
    below, above = np.sqrt((offsets**2).mean(axis=0))
    of_mean = SeedSpread(spread.variance / len(values), spread.freedom)
    return combined(value, (value - float(below), value + float(above)), of_mean, confidence)


def combination(coefficients: Sequence[float], samples: Sequence[Sequence[Sampled]]) -> Sampled:
    """Return Σ c_s y_s over states, each the mean over its seeds, resample by resample.

    Args:
        coefficients: c, one per state.
        samples: by state, those of its seeds.

    Raises:
        UserError: two states answered other units, so that nothing pairs them.
    """
    if len({sample.units for state in samples for sample in state}) > 1:
        raise UserError("results to be compared are of different passages, items or sequences")
    factors = np.asarray(coefficients, dtype=np.float64)
    values = np.array([np.mean([sample.value for sample in state]) for state in samples])
    replicates = np.array([np.mean([s.replicates for s in state], axis=0) for state in samples])
    unresolved = max(
        abs(c) * s.unresolved for c, state in zip(factors, samples, strict=True) for s in state
    )
    units = samples[0][0].units
    scale = float(np.abs(factors) @ np.abs(values))
    value, found = (_beyond_rounding(factors @ of, scale) for of in (values, replicates))
    return Sampled(float(value), found, unresolved, units)


def contrast(
    coefficients: Sequence[float],
    samples: Sequence[Sequence[Sampled]],
    spread: SeedSpread,
    confidence: float,
) -> Estimate:
    """Return Σ c_s y_s over states, paired on the resampled units and on the seeds.

    Args:
        coefficients: c, one per state.
        samples: by state, those of the same seeds.
        spread: of a single seed beside its effect on all states (``spread_beside_seeds``).
        confidence: of the interval.

    Raises:
        UserError: two states answered other units, so that nothing pairs them.
    """
    found = combination(coefficients, samples)
    sampled = sampling_interval(found.value, found.replicates, found.unresolved, confidence)
    variance = spread.variance * sum(c * c for c in coefficients) / len(samples[0])
    return combined(found.value, sampled, SeedSpread(variance, spread.freedom), confidence)


def holm(p_values: Array) -> Array:
    """Return Holm's adjusted p-values (n,) in the order given; NaN stay NaN and do not count.

    Holm (1979): the i-th smallest of m is multiplied by m - i + 1; none falls below one before it.
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted
