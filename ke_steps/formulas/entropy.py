"""How evenly the memories of a layer share its activity: entropy and its relatives.

Where no memory has any activity there is nothing to share: every quantity is NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def quantities(activity: Array, dormant_ratio: float) -> dict[str, Array]:
    """Return every quantity (…,) of one layer's activities (…, m)."""
    entropy = entropy_nats(activity)
    return {
        "entropy_nats": entropy,
        "normalized_entropy": entropy / math.log(activity.shape[-1]),
        "effective_number": np.exp(entropy),
        "gini": gini(activity),
        "top_1_percent_share": top_share(activity, 0.01),
        "dormant_fraction": dormant_fraction(activity, dormant_ratio),
    }


def model_quantities(sums: dict[str, Array], num_layers: int, m: int) -> dict[str, Array]:
    """Return every quantity of the whole model, from the sums over layers."""
    means = {name: values / num_layers for name, values in sums.items()}
    return means | {
        "entropy_nats": sums["entropy_nats"],
        "effective_number": np.exp(means["entropy_nats"]),
    }


def highest(quantity: str, num_layers: int, m: int) -> float:
    """Return the greatest value of a quantity: all memories are alike, or for shares one is all."""
    bounds = {"entropy_nats": num_layers * math.log(m), "effective_number": float(m)}
    return bounds.get(quantity, 1.0)


def entropy_nats(activity: Array) -> Array:
    """Return the Shannon entropy in nats (…,) of activities (…, m), normalised to sum to 1.

    0 · log 0 is 0. Bounds: 0 (one memory does everything) and log m (all are alike).
    """
    p = _ratio(activity, activity.sum(axis=-1, keepdims=True))
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    return -np.einsum("...m,...m->...", p, logs)


def gini(activity: Array) -> Array:
    """Return the Gini coefficient (…,) of activities (…, m): Σᵢ (2i - m - 1) aᵢ / (m Σ a), sorted.

    Bounds: 0 (all memories are alike) and 1 - 1/m (one does everything).
    """
    m = activity.shape[-1]
    ranks = 2 * np.arange(1, m + 1) - m - 1
    return _ratio(np.sort(activity, axis=-1) @ ranks, m * activity.sum(axis=-1))


def top_share(activity: Array, fraction: float) -> Array:
    """Return the share (…,) of all activity (…, m) held by the ⌈fraction · m⌉ most active."""
    m = activity.shape[-1]
    num_top = math.ceil(fraction * m)
    top = np.partition(activity, m - num_top, axis=-1)[..., m - num_top :]
    return _ratio(top.sum(axis=-1), activity.sum(axis=-1))


def dormant_fraction(activity: Array, dormant_ratio: float) -> Array:
    """Return the share (…,) of memories below ``dormant_ratio`` times the mean of (…, m)."""
    mean = activity.mean(axis=-1, keepdims=True)
    is_dormant = (activity < dormant_ratio * mean).mean(axis=-1)
    return np.where(mean[..., 0] > 0, is_dormant, np.nan)


def _ratio(part: Array, whole: Array) -> Array:
    """Return part / whole, NaN where the whole is 0."""
    undefined = np.full(np.broadcast_shapes(np.shape(part), np.shape(whole)), np.nan)
    return np.divide(part, whole, out=undefined, where=whole > 0)
