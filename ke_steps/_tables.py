"""Every table of the workflow: its Parquet schema, and whole-or-nothing reading and writing.

Units are in the column names; log probabilities and entropies are in nats.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ke_steps import _provenance
from ke_steps._errors import UserError

PASSAGES = pa.schema(
    {
        "passage_id": pa.int32(),
        "condition": pa.string(),  # paraphrase | once
        "text_index": pa.int32(),  # 0 is the original, 1… the paraphrases
        "text": pa.string(),
    }
)
PROBES = pa.schema(
    {
        "probe_id": pa.int32(),
        "passage_id": pa.int32(),
        "condition": pa.string(),
        "kind": pa.string(),  # memorization | semantic | compositional
        "input": pa.string(),
        "target": pa.string(),
    }
)
SCHEDULE = pa.schema(
    {
        "injection": pa.int32(),  # 1…num_injections
        "train_step": pa.int32(),  # 1…num_steps: the step whose batch carries the text
        "batch_row": pa.int32(),  # 0…batch_size-1
        "passage_id": pa.int32(),
        "text_index": pa.int32(),
        "condition": pa.string(),
    }
)
TRAINING = pa.schema(
    {
        "train_step": pa.int32(),
        "loss_nats": pa.float64(),
        "learning_rate": pa.float64(),
        "gradient_norm": pa.float64(),
        "num_injected_sequences": pa.int32(),
    }
)
PROBE_SCORES = pa.schema(
    {
        "moment": pa.string(),  # start | before | after (an injection) | end
        "injection": pa.int32(),  # null at start and end
        "train_step": pa.int32(),  # optimiser steps done
        "probe_id": pa.int32(),
        "passage_id": pa.int32(),
        "condition": pa.string(),
        "kind": pa.string(),
        "num_target_tokens": pa.int32(),
        "log_probability_sum": pa.float64(),
        "log_probability_per_token": pa.float64(),
        "log_probability_reference_padded": pa.float64(),
        "log_probability_first_token": pa.float64(),
        "exact_match": pa.bool_(),
    }
)
ENTROPY = pa.schema(
    {
        "layer": pa.int32(),  # null for the whole model
        "quantity": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
KNOWLEDGE = pa.schema(
    {
        "condition": pa.string(),  # paraphrase | once | all
        "kind": pa.string(),  # memorization | semantic | compositional | all
        "quantity": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
RETENTION = pa.schema(
    {
        "task": pa.string(),  # a task, or mean (P: over tasks), or held_out
        "quantity": pa.string(),  # accuracy | bits_per_token
        "num_items": pa.int64(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
RETENTION_ITEMS = pa.schema(
    {
        "task": pa.string(),
        "item": pa.int32(),
        "num_choices": pa.int32(),
        "label": pa.int32(),
        "prediction": pa.int32(),
        "correct": pa.bool_(),
    }
)
SUMMARY = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "variant": pa.string(),
        "recipe": pa.string(),  # null for what is measured before learning
        "seed": pa.int64(),  # null likewise
        "group": pa.string(),  # model | layer 3 | paraphrase/semantic | sciq | …
        "quantity": pa.string(),
        "unit": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
CORRELATIONS = pa.schema(
    {
        "model": pa.string(),
        "recipe": pa.string(),
        "x": pa.string(),
        "y": pa.string(),
        "method": pa.string(),  # pearson | spearman
        "num_points": pa.int64(),
        "value": pa.float64(),
        "p_value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
CLAIMS = pa.schema(
    {
        "model": pa.string(),
        "recipe": pa.string(),  # null for claims about entropy alone
        "variant": pa.string(),  # null for claims about the original checkpoints
        "claim": pa.string(),
        "statement": pa.string(),
        "rule": pa.string(),
        "evidence": pa.string(),
        "verdict": pa.string(),  # supported | not supported | inconclusive
        "num_points": pa.int64(),
        "unit": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
CURVES = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "variant": pa.string(),
        "recipe": pa.string(),
        "seed": pa.int64(),
        "moment": pa.string(),
        "train_step": pa.int32(),
        "condition": pa.string(),
        "performance": pa.float64(),
    }
)
DISTRIBUTIONS = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "variant": pa.string(),
        "layer": pa.int32(),
        "quantile": pa.float64(),
        "relative_activity": pa.float64(),  # mean |c| over the layer's mean of it
    }
)


def sequences_schema(sequence_length_tokens: int) -> pa.Schema:
    """Packed token sequences: one fixed-size list of token ids per row."""
    return pa.schema({"input_ids": pa.list_(pa.int32(), sequence_length_tokens)})


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
            "group_mean_absolute": pa.list_(pa.float64(), num_groups),
        }
    )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


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
    return {b"ke_steps": _provenance.canonical_json(_provenance.current()).encode()}


def read_table(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """Read a table and check its columns; a damaged or foreign file is refused in one line."""
    try:
        table = pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason})") from error
    if schema is not None and not table.schema.equals(schema, check_metadata=False):
        raise UserError(f"{path}: columns are {table.schema.names}, expected {schema.names}")
    return table


def read_frame(path: Path, schema: pa.Schema | None = None) -> pd.DataFrame:
    """Read a table as a data frame."""
    return read_table(path, schema).to_pandas()


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all, keys sorted."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")
