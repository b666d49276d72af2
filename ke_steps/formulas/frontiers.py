"""Frontiers: how much new knowledge a model can have for the old that it keeps.

A learning rate buys new knowledge K with old knowledge P, so that one rate alone compares nothing
(Biderman et al. 2024, arXiv 2405.09673, compare adaptation methods by this trade). The points (P,
K) of several rates, in the order of the rates, are joined by straight lines: what lies between two
rates is taken to be reached by a rate between them. The frontier at p is the greatest K on these
lines where P is at least p. It never rises with p, ends at the greatest P, and moves continuously
with the points, so that a bootstrap holds: a point that another dominates only just is no jump.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def frontier(accuracy: ArrayLike, knowledge: ArrayLike, levels: ArrayLike) -> Array:
    """Return the greatest K where P is at least a level; NaN above the greatest P.

    Args:
        accuracy: P (..., n), by learning rate in ascending order.
        knowledge: K (..., n), likewise.
        levels: of P (..., m).

    Returns:
        K (..., m).
    """
    old, new, level = (np.asarray(each, dtype=np.float64) for each in (accuracy, knowledge, levels))
    level = level[..., None, :]
    reached = np.where(old[..., None] >= level, new[..., None], -np.inf).max(axis=-2)
    (old_from, old_to), (new_from, new_to) = (
        (each[..., :-1, None], each[..., 1:, None]) for each in (old, new)
    )
    is_between = (np.minimum(old_from, old_to) < level) & (level < np.maximum(old_from, old_to))
    span = np.where(old_from == old_to, 1.0, old_to - old_from)
    on_line = new_from + (level - old_from) / span * (new_to - new_from)
    crossed = np.where(is_between, on_line, -np.inf).max(axis=-2, initial=-np.inf)
    best = np.maximum(reached, crossed)
    return np.where(np.isneginf(best), np.nan, best)


def overlap(left: ArrayLike, right: ArrayLike) -> tuple[Array, Array]:
    """Return the range of P (...) that the points of two frontiers share; NaN where none.

    Args:
        left: P (..., n) of one.
        right: P (..., k) of the other.
    """
    ranges = [(np.min(each, axis=-1), np.max(each, axis=-1)) for each in (left, right)]
    low = np.maximum(*(least for least, _ in ranges))
    high = np.minimum(*(greatest for _, greatest in ranges))
    is_shared = low <= high
    return np.where(is_shared, low, np.nan), np.where(is_shared, high, np.nan)


def mean_between(accuracy: ArrayLike, knowledge: ArrayLike, low: Array, high: Array) -> Array:
    """Return the mean of a frontier (...) over a range of P that it reaches.

    At one P, which is a range as well, the frontier there.
    """
    width = high - low
    nothing = np.full(low.shape, -np.inf)
    mean = _integral(accuracy, knowledge, low, high, nothing) / np.where(width > 0, width, 1.0)
    at_one = frontier(accuracy, knowledge, low[..., None])[..., 0]
    return np.where(width > 0, mean, at_one)


def dominated_area(
    accuracy: ArrayLike, knowledge: ArrayLike, chance: ArrayLike, unlearned: ArrayLike
) -> Array:
    """Return the area (...) between a frontier and a reference point, in nats.

    That is all of (P, K) that some learning rate reaches or exceeds in both and that is better in
    both than the reference: the integral of the frontier above ``unlearned`` over P from ``chance``
    (the hypervolume of Zitzler & Thiele 1999, of the joined points). Zero where nothing is.

    Args:
        accuracy: P (..., n), by learning rate in ascending order.
        knowledge: K (..., n), likewise, in nats.
        chance: the reference's P (...).
        unlearned: the reference's K (...), in nats.
    """
    start, floor = (np.asarray(each, dtype=np.float64) for each in (chance, unlearned))
    end = np.maximum(np.max(accuracy, axis=-1), start)
    area: Array = _integral(accuracy, knowledge, start, end, floor) - floor * (end - start)
    return area


def _integral(
    accuracy: ArrayLike, knowledge: ArrayLike, low: Array, high: Array, floor: Array
) -> Array:
    """Return the integral (...) of a frontier, or of the floor where that is higher.

    Exact: between two neighbours among the points, the crossings of lines and the crossings of a
    line with the floor, the frontier is one straight line, whose integral its middle gives.
    """
    old, new = (np.asarray(each, dtype=np.float64) for each in (accuracy, knowledge))
    shape = np.broadcast_shapes(old.shape[:-1], low.shape, high.shape)
    low, high = np.broadcast_to(low, shape), np.broadcast_to(high, shape)
    bends = np.concatenate([old, _crossings(old, new, floor)], axis=-1)
    bends = np.broadcast_to(bends, (*shape, bends.shape[-1]))
    bends = np.where(np.isfinite(bends), bends, low[..., None])
    ends = np.concatenate([low[..., None], bends, high[..., None]], axis=-1)
    ends = np.sort(np.clip(ends, low[..., None], high[..., None]), axis=-1)
    widths = np.diff(ends, axis=-1)
    heights = np.fmax(frontier(old, new, ends[..., :-1] + widths / 2), floor[..., None])
    total: Array = np.where(widths > 0, heights * widths, 0.0).sum(axis=-1)
    return total


def _crossings(old: Array, new: Array, floor: Array) -> Array:
    """Return at which P (..., number) a frontier may bend beside its points.

    Lines through neighbours cross each other there, or the height of a point or of the floor; also
    beyond their ends, where it does no harm. Not finite where they do not cross.
    """
    floor = np.broadcast_to(floor, old.shape[:-1])[..., None]
    levels = np.concatenate([new, floor], axis=-1)[..., None, :]
    first, second = np.triu_indices(old.shape[-1] - 1, k=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(new, axis=-1) / np.diff(old, axis=-1)
        starts = new[..., :-1] - slopes * old[..., :-1]
        lines = (starts[..., second] - starts[..., first]) / (
            slopes[..., first] - slopes[..., second]
        )
        at_levels = (levels - starts[..., None]) / slopes[..., None]
    return np.concatenate([lines, at_levels.reshape(*old.shape[:-1], -1)], axis=-1)
