"""Tables of what is measured on a checkpoint, as Parquet schemas.

Units are in the column names; entropies are in nats.
"""

from __future__ import annotations

import pyarrow as pa

ENTROPY = pa.schema(
    {
        "layer": pa.int32(),  # null for the whole model
        "measure": pa.string(),  # absolute (the paper's) | positive | … | attention | next_token
        "quantity": pa.string(),
        "value": pa.float64(),  # null where no memory has any such activity
        "low": pa.float64(),
        "high": pa.float64(),
        "num_items": pa.int64(),  # groups of sequences
    }
)

TOKEN_ENTROPIES = pa.schema(
    {
        "quantity": pa.string(),  # attention | next_token
        "layer": pa.int32(),  # null for next_token
        "head": pa.int32(),  # likewise
        "group": pa.int32(),  # of instances
        "entropy_nats": pa.float64(),  # mean over the group's instances of the mean over positions
    }
)

MEMORIES = pa.schema(
    {
        "layer": pa.int32(),
        "end": pa.string(),  # most | least (active)
        "rank": pa.int32(),  # 1 is the most, or the least, active
        "memory": pa.int32(),
        "mean_absolute": pa.float64(),
        "relative_activity": pa.float64(),  # mean |c| over the layer's mean of it; null for 0 / 0
        "tokens": pa.list_(pa.string()),  # promoted most, best first; none by a vector of zeros
        "scores": pa.list_(pa.float32()),  # memory vector · unembedding row
    }
)


def coefficients_schema(num_groups: int) -> pa.Schema:
    """One row per memory: moments of its coefficient c over tokens, then over instances."""
    return pa.schema(
        {
            "layer": pa.int32(),
            "memory": pa.int32(),
            "mean_absolute": pa.float64(),
            "mean": pa.float64(),
            "mean_square": pa.float64(),
            "active_fraction": pa.float64(),
            "memory_norm": pa.float64(),  # ‖v‖ of the memory vector
            "group_mean_absolute": pa.list_(pa.float64(), num_groups),
            "group_mean": pa.list_(pa.float32(), num_groups),
            "group_mean_relu_gate": pa.list_(pa.float32(), num_groups),  # null unless asked for
            "group_mean_attribution": pa.list_(pa.float32(), num_groups),  # likewise
        }
    )


SHARD_TERMS = ("absolute", "signed", "square", "active", "relu_gate", "attribution")
"""What a shard holds of a coefficient: columns ``group_mean_{term}``."""

SHARD_COEFFICIENTS = pa.schema(
    {
        "layer": pa.int32(),
        "memory": pa.int32(),
        "memory_norm": pa.float64(),
        # by group of the shard, which are fewer for attribution; null unless asked for
        **{f"group_mean_{term}": pa.list_(pa.float64()) for term in SHARD_TERMS},
    }
)

SHARD_TOKEN_ENTROPIES = pa.schema(
    {
        "quantity": pa.string(),  # attention | next_token
        "layer": pa.int32(),  # null for next_token
        "head": pa.int32(),  # likewise
        "entropies_nats": pa.list_(pa.float64()),  # mean over positions, by instance of the shard
    }
)
