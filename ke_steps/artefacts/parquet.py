"""Tables, read with one line for a damaged one and written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.job.files import canonical_json, replacing


def write_table(
    path: Path,
    columns: Mapping[str, Any] | Sequence[Mapping[str, Any]] | pd.DataFrame,
    schema: pa.Schema,
) -> None:
    """Write columns, rows or a data frame under a declared schema, with provenance as metadata."""
    if isinstance(columns, pd.DataFrame):
        table = pa.Table.from_pandas(columns, schema=schema, preserve_index=False)
    elif isinstance(columns, Mapping):
        table = pa.table(dict(columns), schema=schema)
    else:
        table = pa.Table.from_pylist([dict(row) for row in columns], schema=schema)
    with replacing(path) as beside:
        pq.write_table(table.replace_schema_metadata(_stamp()), beside)


def write_batches(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    """Write batches as they come, one row group each: like ``write_table``, in bounded memory."""
    with (
        replacing(path) as beside,
        pq.ParquetWriter(beside, schema.with_metadata(_stamp())) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)


def _stamp() -> dict[bytes, bytes]:
    return {b"ke_steps": canonical_json(provenance.current()).encode()}


def provenance_of(schema: pa.Schema) -> dict[str, Any]:
    """Return the provenance that a table was written with; empty for one from elsewhere."""
    found: dict[str, Any] = json.loads((schema.metadata or {}).get(b"ke_steps", b"{}"))
    return found


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the provenance of a table of this project's."""
    return provenance_of(pq.read_schema(path))


def read_table(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """Read a table and check its columns; a damaged or foreign file is refused in one line."""
    try:
        with pq.ParquetFile(
            path
        ) as file:  # `read_table` takes several times as long for a small one
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason}); make it again") from error
    if schema is not None and not table.schema.equals(schema, check_metadata=False):
        raise UserError(f"{path}: {_difference(table.schema, schema)}; make it again")
    return table


def _difference(found: pa.Schema, expected: pa.Schema) -> str:
    if found.names != expected.names:
        return f"columns are {found.names}, expected {expected.names}"
    wrong = [
        f"{theirs.name}: {theirs.type} instead of {ours.type}"
        for theirs, ours in zip(found, expected, strict=True)
        if not theirs.equals(ours)
    ]
    return f"has other columns: {', '.join(wrong)}"


def read_frame(path: Path, schema: pa.Schema | None = None) -> pd.DataFrame:
    """Read a table as a data frame."""
    return read_table(path, schema).to_pandas()
