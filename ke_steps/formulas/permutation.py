"""Permutation tests of rank correlations: how often chance alone gives one as strong."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

VALUES_AT_A_TIME = 2_000_000
"""Permuted ranks in memory: 16 MB, whatever the number of memories."""

ROUNDING = 1e-12
"""Correlations that differ by less are equally strong."""


def permuted_correlations(
    fixed: Array, permuted: Array, num_permutations: int, generator: np.random.Generator
) -> Array:
    """Return Spearman's correlations (num_variables, num_permutations) under permutation.

    Args:
        fixed: (num_variables, n); all are set against the same permutations.
        permuted: (n,), whose order is drawn anew each time.
        num_permutations: how many orders.
        generator: that draws them.

    Returns:
        NaN where one side is the same everywhere.
    """
    sides, moving = _standard_ranks(fixed), _standard_ranks(permuted)
    at_a_time = max(1, VALUES_AT_A_TIME // len(moving))
    blocks = []
    for start in range(0, num_permutations, at_a_time):
        num_orders = min(at_a_time, num_permutations - start)
        orders = generator.permuted(np.tile(moving, (num_orders, 1)), axis=1)
        blocks.append(sides @ orders.T)
    return np.concatenate(blocks, axis=1)


def permutation_p_value(observed: float, permuted: Array) -> float:
    """Return the two-sided p = (1 + #{|permuted| ≥ |observed|}) / (1 + num_permutations).

    Phipson & Smyth (2010): the order observed is one of those that may come, so that p is never 0.
    NaN where nothing was observed.
    """
    if math.isnan(observed):
        return math.nan
    as_strong = np.abs(permuted) >= abs(observed) - ROUNDING
    return float((1 + as_strong.sum()) / (1 + len(permuted)))


def _standard_ranks(values: Array) -> Array:
    """Return ranks along the last axis, of mean 0 and length 1, so that r is a product of two."""
    ranks = stats.rankdata(values, axis=-1)
    centred = ranks - ranks.mean(axis=-1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=-1, keepdims=True)
    undefined = np.full_like(centred, np.nan)
    return np.divide(centred, lengths, out=undefined, where=lengths > 0)
