"""Invented units, passages or items or groups of sequences, around known means."""

from __future__ import annotations

import zlib

import numpy as np

IN_COMMON = 0.9
"""Of a unit's deviation, what it has in every state: it is easy or hard whoever is asked."""


def units(mean: float, half_width: float, what: str, own: str, num_units: int) -> np.ndarray:
    """Return values (num_units,) with exactly this mean.

    Args:
        mean: of all units.
        half_width: about that of the 95 % interval of the mean.
        what: names the units; states differ little at the same ones.
        own: names the state that is asked; empty for the units as such.
        num_units: how many.
    """
    deviations = _normal(what, num_units)
    if own:
        rest = np.sqrt(1 - IN_COMMON**2)
        deviations = IN_COMMON * deviations + rest * _normal(f"{what} {own}", num_units)
    return mean + half_width / 1.96 * np.sqrt(num_units) * deviations


def _normal(name: str, num_units: int) -> np.ndarray:
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(num_units)
    return (drawn - drawn.mean()) / drawn.std()
