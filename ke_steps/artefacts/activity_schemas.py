"""Small tables beside those of coefficients: all that the summary needs of these."""

from __future__ import annotations

import pyarrow as pa

ACTIVITY = pa.schema(
    {
        "layer": pa.int32(),
        "memory": pa.int32(),
        "mean_absolute": pa.float64(),  # mean |c|, as in the table of coefficients
    }
)

DISTRIBUTION = pa.schema(
    {
        "layer": pa.int32(),
        "quantile": pa.float64(),
        "relative_activity": pa.float64(),  # mean |c| over the layer's mean of it; null for 0 / 0
    }
)
