"""Interventions: small safetensors files of numbers that are applied to a checkpoint on load.

Of the feed-forward layers, L of them with m memories each:

- ``up_rows`` (L, m) fp32: factors on the rows of the up projections of a gated model;
- ``key_rows`` (L, m) fp32: factors on the key rows, and their biases, of an ungated model;
- ``memory_vectors`` (L, m) fp64: factors on the memory vectors, the columns of the output
  projections; in fp64, so that a factor and its inverse give 1 but for the rounding of weights;
- the same three with ``_noise`` (L, m) fp32: how far a row is moved, in a random direction, as a
  multiple of its own norm; ``noise_seed`` () int64: what the directions are drawn from.

Of attention:

- ``query_rows`` () fp32: one factor on all query projections;
- ``attention_temperature`` (2,) fp64, a setting of the forward pass: the temperature of attention
  up to the start, and at the end of learning.

This module imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import save_file

from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.job.files import canonical_json, replacing

Target = Literal[
    "up_rows",
    "key_rows",
    "memory_vectors",
    "up_rows_noise",
    "key_rows_noise",
    "memory_vectors_noise",
    "noise_seed",
    "query_rows",
    "attention_temperature",
]
Intervention = Mapping[Target, NDArray[Any]]

NOISE: dict[Target, Target] = {
    "up_rows": "up_rows_noise",
    "key_rows": "key_rows_noise",
    "memory_vectors": "memory_vectors_noise",
}
"""What the noise on the rows of feed-forward layers is called."""

DTYPES: dict[Target, Any] = {
    "up_rows": np.float32,
    "key_rows": np.float32,
    "memory_vectors": np.float64,
    **dict.fromkeys(NOISE.values(), np.float32),
    "noise_seed": np.int64,
    "query_rows": np.float32,
    "attention_temperature": np.float64,
}


def write_intervention(path: Path, values: Mapping[Target, ArrayLike]) -> None:
    """Write an intervention's values in their dtypes, with provenance as metadata."""
    tensors = {name: np.asarray(each, dtype=DTYPES[name]) for name, each in values.items()}
    metadata = {"ke_steps": canonical_json(provenance.current())}
    with replacing(path) as beside:
        save_file({**tensors}, beside, metadata)


def read_intervention(path: Path) -> Intervention:
    """Read an intervention.

    Raises:
        UserError: unreadable, nothing or tensors of unknown names in it, or noise without a seed.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
    if not found or found.keys() - DTYPES.keys():
        raise UserError(
            f"{path}: holds {', '.join(found) or 'nothing'}, an intervention holds some of"
            f" {', '.join(DTYPES)}"
        )
    if "noise_seed" not in found and found.keys() & set(NOISE.values()):
        raise UserError(f"{path}: holds noise, but no noise_seed to draw it from")
    return found
