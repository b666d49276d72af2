"""In how many directions coefficients vary: the spectrum of their second moments.

M = E[c cᵀ] (m, m) has eigenvalues λ. Where all are zero nothing is defined: NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def participation_ratio(trace: float, squared_norm: float) -> float:
    """Return (Σ λ)² / Σ λ² = tr(M)² / ‖M‖²: from 1 to m, when all eigenvalues are alike."""
    return trace**2 / squared_norm if squared_norm > 0 else math.nan


def effective_rank(eigenvalues: Array) -> float:
    """Return exp(−Σ p ln p) with p = λ / Σ λ, of eigenvalues (m,): from 1 to m.

    Roy & Vetterli 2007, with the eigenvalues of M as its singular values. What rounding makes
    negative is zero.
    """
    spectrum = np.maximum(eigenvalues, 0.0)
    if not spectrum.any():
        return math.nan
    p = spectrum[spectrum > 0] / spectrum.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def squared_norm_of_sample(diagonal: Array, sampled: Array) -> float:
    """Return an unbiased estimate of ‖M‖² from the whole diagonal and a sample of M.

    Args:
        diagonal: (m,), of M.
        sampled: (s, s): the rows and columns of s of the m memories, drawn without replacement.
            Of all of them the result is exact.
    """
    m, s = len(diagonal), len(sampled)
    off_diagonal = float((sampled**2).sum() - (np.diagonal(sampled) ** 2).sum())
    return float((diagonal**2).sum()) + off_diagonal * (m * (m - 1)) / (s * (s - 1))


def dormant_fraction(activity: Array, threshold: float) -> Array:
    """Return the fraction (…,) of activities (…, m) of at most ``threshold`` times their mean.

    Sokar et al. (2302.12902), definition 3.1.
    """
    mean = activity.mean(axis=-1, keepdims=True)
    dormant: Array = (activity <= threshold * mean).mean(axis=-1)
    return np.where(mean[..., 0] > 0, dormant, np.nan)
