"""Acquisition and forgetting: the ratios that compare a model before and after learning."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def acquisition(before: ArrayLike, after: ArrayLike) -> NDArray[np.float64]:
    """Return A = 1 - K_after / K_before, elementwise; positive when probes became likelier.

    The paper (section 4) prints (K_after - K_before) / K_before. K is a mean log probability and
    so negative: its published positive percentages are the relative reduction of -K, as here.
    NaN where K_before is 0.
    """
    return _relative_fall(before, after)


def forgetting(before: ArrayLike, after: ArrayLike) -> NDArray[np.float64]:
    """Return F = -(P_after - P_before) / P_before, elementwise; positive when accuracy was lost.

    NaN where P_before is 0: nothing was there to be forgotten.
    """
    return _relative_fall(before, after)


def forgetting_above_chance(
    before: ArrayLike, after: ArrayLike, chance: ArrayLike
) -> NDArray[np.float64]:
    """Return (P_before - P_after) / (P_before - chance), elementwise; 1 when nothing is left.

    Accuracy at chance is no knowledge, so that F is small where there was little to forget. NaN
    where P_before is not above chance: nothing was there to be forgotten.
    """
    start, end, guessed = (np.asarray(each, dtype=np.float64) for each in (before, after, chance))
    known = start - guessed
    undefined = np.full(np.broadcast(start, end, guessed).shape, np.nan)
    return np.divide(start - end, known, out=undefined, where=known > 0)


def _relative_fall(before: ArrayLike, after: ArrayLike) -> NDArray[np.float64]:
    start = np.asarray(before, dtype=np.float64)
    end = np.asarray(after, dtype=np.float64)
    return 1 - np.divide(
        end, start, out=np.full(np.broadcast(start, end).shape, np.nan), where=start != 0
    )
