"""Bootstrap replicates kept beside a table: what pairs the results of states that are compared.

A step resamples with weights that follow from its settings and the number of units alone, so that
replicate b of two states is of the same resample of passages, items or sequences; the difference of
two replicates is one of the difference, and what both states have in common is in no interval.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ke_steps.job.files import canonical_json

REPLICATES = pa.schema(
    {
        "quantity": pa.string(),  # accuracy and bits_per_token are of the moment of their path
        "group": pa.string(),  # of the summary, without a corpus
        "num_units": pa.int64(),
        "units": pa.string(),  # sha256 of what was resampled, and how: equal ones are paired
        "value": pa.float64(),
        "unresolved": pa.float64(),  # half the interval where no resample differs from another
        "replicates": pa.list_(pa.float64()),
    }
)


class Resampled(NamedTuple):
    """A value and its bootstrap replicates (num_bootstrap,), of ``num_units`` units."""

    value: float
    replicates: NDArray[np.float64]
    num_units: int
    units: str
    unresolved: float = 0.0

    def row(self, quantity: str, group: str) -> dict[str, Any]:
        """Return the row of ``REPLICATES``."""
        return {"quantity": quantity, "group": group, **self._asdict()}


def group_of_layer(layer: int | None) -> str:
    """Return the summary's group of a layer, or of the whole model."""
    return "model" if layer is None else f"layer {layer}"


def quantity_of_measure(measure: str, quantity: str) -> str:
    """Return the summary's name of a quantity by a measure of activity; the paper's has no name."""
    return quantity if measure == "absolute" else f"{measure}_{quantity}"


def name_of_units(units: Any, num_bootstrap: int, seed: int) -> str:
    """Return the sha256 that two resamples share if they are the same.

    Args:
        units: what names the units in their order, as JSON.
        num_bootstrap: how many resamples.
        seed: that they were drawn with.
    """
    return hashlib.sha256(canonical_json([units, num_bootstrap, seed]).encode()).hexdigest()
