"""What else could explain how a checkpoint learns and forgets, as a Parquet schema."""

from __future__ import annotations

import pyarrow as pa

RIVALS = pa.schema(
    {
        "group": pa.string(),  # model | layer 3 | a group of parameters | attention γ=0.1
        "quantity": pa.string(),
        "value": pa.float64(),  # null where it is not defined
        "low": pa.float64(),  # null for what is not drawn
        "high": pa.float64(),
        "num_items": pa.int64(),  # draws; null likewise
        "draws": pa.list_(pa.float64()),  # the values that a drawn one is the mean of
    }
)

THRESHOLDS = (0.0, 0.025, 0.1)
"""τ, at or below which times its layer's mean a memory is dormant (Sokar et al. 2302.12902)."""


def dormant_at(threshold: float) -> str:
    """Return the name of the fraction of memories that are dormant at a threshold."""
    return f"dormant_at_{threshold:g}"


def at_scale(group: str, scale: float) -> str:
    """Return the group of what noise of a scale γ on a group of parameters does."""
    return f"{group} γ={scale:g}"
