"""Multipliers of memories: Algorithm 1 of the paper, and the same on other memories."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ke_steps.job.errors import UserError

Array = NDArray[np.float64]


def waking_multipliers(
    activity: Array, *, quantile: float, boost: float, max_multiplier: float | None
) -> Array:
    """Return the multipliers (m,) that wake a layer with mean absolute coefficients (m,).

    With C = mean |c|: t is the p-th quantile of C (linear interpolation), and every memory with
    C ≤ t gets q · mean(C) / C; all others get 1 (paper, Algorithm 1; p = ``quantile``,
    q = ``boost``). In a layer without any activity q · mean(C) is 0, which all its memories have:
    none is dormant, and all get 1.

    Raises:
        UserError: a memory to be woken has no activity at all and no cap is set.
    """
    if not activity.any():
        return np.ones_like(activity)
    threshold = np.quantile(activity, quantile)
    target = boost * activity.mean()
    ceiling = np.inf if max_multiplier is None else max_multiplier
    wanted = np.divide(target, activity, out=np.full_like(activity, np.inf), where=activity > 0)
    multipliers = np.where(activity <= threshold, np.minimum(wanted, ceiling), 1.0)
    num_infinite = np.sum(multipliers > np.finfo(np.float32).max)
    if num_infinite:
        raise UserError(
            f"max_multiplier: is null, but {num_infinite} memories of a layer are never active and"
            " would need an infinite multiplier; set a number such as 10"
        )
    return multipliers


def permuted(multipliers: Array, draw: int) -> Array:
    """Return multipliers (L, m) with those of each layer on memories drawn by a seed."""
    draws = (np.random.default_rng((draw, layer)) for layer in range(len(multipliers)))
    return np.stack([d.permutation(row) for d, row in zip(draws, multipliers, strict=True)])


def upside_down(multipliers: Array, activity: Array) -> Array:
    """Return multipliers (L, m) so that the i-th most active has that of the i-th least active."""
    ascending = np.argsort(activity, axis=-1, kind="stable")
    found = np.empty_like(multipliers)
    given = np.take_along_axis(multipliers, ascending, axis=-1)
    np.put_along_axis(found, ascending[:, ::-1], given, axis=-1)
    return found
