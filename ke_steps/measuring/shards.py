"""What the jobs that share an extraction hand over; imports no torch.

A shard's tables hold everything in fp64, and by instance where groups are yet to be formed, so that
shards put together give the same bits as one job would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ke_steps.artefacts.measure_schemas import (
    SHARD_COEFFICIENTS,
    SHARD_TERMS,
    SHARD_TOKEN_ENTROPIES,
)
from ke_steps.artefacts.parquet import provenance_of, read_table, write_table
from ke_steps.job.errors import UserError
from ke_steps.measuring.measures import Array, Measures


class ShardTables(NamedTuple):
    """A shard as it was written, and the provenance of its two files."""

    measures: Measures
    provenances: dict[Path, dict[str, Any]]


def write_shard(coefficients: Path, token_entropies: Path, measures: Measures) -> None:
    """Write the measures of a shard."""
    rows = list(_entropy_rows(measures))
    write_table(token_entropies, rows, SHARD_TOKEN_ENTROPIES)
    num_layers, m = measures.memory_norms.shape
    columns = {
        "layer": np.repeat(np.arange(num_layers, dtype=np.int32), m),
        "memory": np.tile(np.arange(m, dtype=np.int32), num_layers),
        "memory_norm": measures.memory_norms.ravel(),
    }
    for term in SHARD_TERMS:
        means = measures.coefficients.get(term)
        columns[f"group_mean_{term}"] = pa.nulls(num_layers * m) if means is None else _lists(means)
    write_table(coefficients, columns, SHARD_COEFFICIENTS)


def _lists(means: Array) -> pa.ListArray:
    """Turn means (num_layers, num_groups, m) into one list over groups per memory."""
    num_layers, num_groups, m = means.shape
    ends = np.arange(num_layers * m + 1, dtype=np.int32) * num_groups
    return pa.ListArray.from_arrays(ends, means.swapaxes(1, 2).ravel())


def _entropy_rows(measures: Measures) -> Iterator[dict[str, Any]]:
    if measures.attention is not None:
        for layer, by_head in enumerate(measures.attention.swapaxes(1, 2)):
            for head, entropies in enumerate(by_head):
                row = {"quantity": "attention", "layer": layer, "head": head}
                yield row | {"entropies_nats": entropies}
    if measures.next_token is not None:
        yield {"quantity": "next_token", "entropies_nats": measures.next_token}


def read_shard(coefficients: Path, token_entropies: Path) -> ShardTables:
    """Read what ``write_shard`` wrote.

    Raises:
        UserError: a table is not one of a shard.
    """
    by_memory = read_table(coefficients, SHARD_COEFFICIENTS)
    entropies = read_table(token_entropies, SHARD_TOKEN_ENTROPIES)
    num_layers = by_memory.column("layer")[-1].as_py() + 1
    norms = by_memory.column("memory_norm").to_numpy().reshape(num_layers, -1)
    means = {}
    for term in SHARD_TERMS:
        column = by_memory.column(f"group_mean_{term}")
        if column.null_count == 0:
            flat = column.combine_chunks().flatten().to_numpy()
            means[term] = flat.reshape(*norms.shape, -1).swapaxes(1, 2)
    attention = [row for row in entropies.to_pylist() if row["quantity"] == "attention"]
    next_token = [row for row in entropies.to_pylist() if row["quantity"] == "next_token"]
    by_head = np.array([row["entropies_nats"] for row in attention], dtype=np.float64)
    measures = Measures(
        means,
        attention=by_head.reshape(num_layers, len(attention) // num_layers, -1).swapaxes(1, 2)
        if attention
        else None,
        next_token=np.array(next_token[0]["entropies_nats"]) if next_token else None,
        memory_norms=norms,
    )
    tables = {coefficients: by_memory, token_entropies: entropies}
    return ShardTables(measures, {path: _provenance(path, each) for path, each in tables.items()})


def _provenance(path: Path, table: pa.Table) -> dict[str, Any]:
    found = provenance_of(table.schema)
    if found.get("step") != "extract_shard":
        raise UserError(f"{path}: not written by extract_shard; delete it and run again")
    return found


def join(shards: Sequence[Measures]) -> Measures:
    """Return the measures of the whole corpus from those of its shards, in their order."""

    def joined(parts: Iterable[Array | None], axis: int) -> Array | None:
        asked_for = [part for part in parts if part is not None]
        return np.concatenate(asked_for, axis=axis) if asked_for else None

    return Measures(
        {
            term: np.concatenate([shard.coefficients[term] for shard in shards], axis=1)
            for term in shards[0].coefficients
        },
        attention=joined((shard.attention for shard in shards), 1),
        next_token=joined((shard.next_token for shard in shards), 0),
        memory_norms=shards[0].memory_norms,
    )
