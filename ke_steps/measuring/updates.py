"""How far learning moved every memory: its memory vector, and the rows that are its key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from ke_steps.artefacts.learning_schemas import UPDATES
from ke_steps.models.feed_forward import FeedForward


def update_map(before: FeedForward, after: FeedForward) -> Iterator[pa.RecordBatch]:
    """Yield the rows of ``learning_schemas.UPDATES``, one batch per layer.

    ``memory_norm`` is ‖v‖ before and ``memory_change`` ‖v after - v before‖ of the memory vector;
    ``key_norm`` and ``key_change`` are the same of a memory's rows of all key projections, joined
    (gate and up where the layer is gated; biases left out). Differences are fp32, norms fp64.
    Only one layer at a time is copied, to the CPU.
    """
    for layer in range(before.num_layers):
        columns: dict[str, Any] = _norms(
            "memory", [before.memory_vectors(layer)], [after.memory_vectors(layer)]
        ) | _norms("key", before.keys(layer), after.keys(layer))
        columns["layer"] = [layer] * before.num_memories
        columns["memory"] = range(before.num_memories)
        yield pa.RecordBatch.from_pydict(columns, schema=UPDATES)


def _norms(name: str, before: list[Tensor], after: list[Tensor]) -> dict[str, Any]:
    """Return the norm and the change (m,) of rows (m, d), joined over the tensors of a list."""
    start = [rows.detach().float().cpu() for rows in before]
    moved = [rows.detach().float().cpu() - was for rows, was in zip(after, start, strict=True)]
    return {f"{name}_norm": _row_norms(start), f"{name}_change": _row_norms(moved)}


def _row_norms(parts: list[Tensor]) -> Any:
    squares = [
        torch.linalg.vector_norm(part, dim=1, dtype=torch.float64).square() for part in parts
    ]
    return torch.stack(squares).sum(dim=0).sqrt().numpy()
