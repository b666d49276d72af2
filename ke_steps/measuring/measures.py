"""The two tables of an extraction, from group means and entropies; imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ke_steps.artefacts.measure_schemas import TOKEN_ENTROPIES, coefficients_schema
from ke_steps.artefacts.parquet import write_table
from ke_steps.job.errors import UserError

Array = NDArray[np.float64]


class Measures(NamedTuple):
    """What is measured of a checkpoint over a corpus, or over a shard of it."""

    coefficients: dict[str, Array]
    """Of each of ``measure_schemas.SHARD_TERMS`` asked for: (num_layers, num_groups, m)."""

    attention: Array | None
    """Entropies in nats (num_layers, num_attention_sequences, num_heads); None unless asked for."""

    next_token: Array | None
    """Entropies in nats (num_next_token_sequences,); None unless asked for."""

    memory_norms: Array
    """‖v‖ of the memory vectors (num_layers, m)."""


def write_measures(
    coefficients: Path, token_entropies: Path, measures: Measures, num_groups: int
) -> None:
    """Write what ``extract_coefficients`` gives, from measures of the whole corpus.

    Raises:
        UserError: an entropy is not finite.
    """
    rows = list(token_entropy_rows(measures, num_groups))
    write_table(token_entropies, rows, TOKEN_ENTROPIES)
    _write_coefficients(coefficients, measures)


def _write_coefficients(path: Path, measures: Measures) -> None:
    """Write one row per (layer, memory)."""
    # in this order in memory, so that sums over groups round alike wherever the means come from
    means = {name: np.ascontiguousarray(each) for name, each in measures.coefficients.items()}
    num_layers, num_groups, m = means["absolute"].shape
    schema = coefficients_schema(num_groups)

    def by_group(name: str, column: str) -> pa.Array:
        if name not in means:
            return pa.nulls(num_layers * m, schema.field(column).type)
        rows = means[name].swapaxes(1, 2).ravel()
        return pa.FixedSizeListArray.from_arrays(
            rows.astype(schema.field(column).type.value_type.to_pandas_dtype()), num_groups
        )

    overall = {name: values.mean(axis=1).ravel() for name, values in means.items()}
    columns = {
        "layer": np.repeat(np.arange(num_layers, dtype=np.int32), m),
        "memory": np.tile(np.arange(m, dtype=np.int32), num_layers),
        "mean_absolute": overall["absolute"],
        "mean": overall["signed"],
        "mean_square": overall["square"],
        "active_fraction": overall["active"],
        "memory_norm": measures.memory_norms.ravel(),
        "group_mean_absolute": by_group("absolute", "group_mean_absolute"),
        "group_mean": by_group("signed", "group_mean"),
        "group_mean_relu_gate": by_group("relu_gate", "group_mean_relu_gate"),
        "group_mean_attribution": by_group("attribution", "group_mean_attribution"),
    }
    write_table(path, columns, schema)


def token_entropy_rows(measures: Measures, num_groups: int) -> Iterator[dict[str, Any]]:
    """Yield rows of ``measure_schemas.TOKEN_ENTROPIES``; groups are contiguous and of equal size.

    Raises:
        UserError: an entropy is not finite.
    """
    if measures.attention is not None:
        groups = _group_means("attention", measures.attention, num_groups)
        for (layer, head, group), value in np.ndenumerate(groups.swapaxes(1, 2)):
            yield {
                "quantity": "attention",
                "layer": layer,
                "head": head,
                "group": group,
                "entropy_nats": value,
            }
    if measures.next_token is not None:
        next_token = _group_means("next_token", measures.next_token[None, :, None], num_groups)
        for group, value in enumerate(next_token.ravel()):
            yield {"quantity": "next_token", "group": group, "entropy_nats": value}


def _group_means(quantity: str, entropies: Array, num_groups: int) -> Array:
    """Return the means (a, num_groups, b) of entropies (a, N, b) over instances."""
    if not np.isfinite(entropies).all():
        raise UserError(f"{quantity} entropies are not finite; try precision fp32")
    a, _, b = entropies.shape
    means: Array = np.ascontiguousarray(entropies).reshape(a, num_groups, -1, b).mean(axis=2)
    return means
