"""Interventions: small safetensors files with one tensor, applied to a checkpoint on load.

- ``up_rows`` (num_layers, m) fp32: factors on the rows of the up projections of a gated model;
- ``key_rows`` (num_layers, m) fp32: factors on the key rows, and their biases, of an ungated model;
- ``query_rows`` () fp32: one factor on all query projections;
- ``attention_temperature`` (2,) fp64, a setting of the forward pass: the temperature of attention
  up to the start, and at the end of learning.

This module imports neither torch nor transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import safetensors
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import save_file

from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.job.files import canonical_json, replacing

Target = Literal["up_rows", "key_rows", "query_rows", "attention_temperature"]
DTYPES: dict[Target, Any] = {
    "up_rows": np.float32,
    "key_rows": np.float32,
    "query_rows": np.float32,
    "attention_temperature": np.float64,
}


class Intervention(NamedTuple):
    """Factors on rows or settings, and of what."""

    target: Target
    values: NDArray[np.floating]


def write_intervention(path: Path, target: Target, values: ArrayLike) -> None:
    """Write an intervention's values in its target's dtype, with provenance as metadata."""
    metadata = {"ke_steps": canonical_json(provenance.current())}
    with replacing(path) as beside:
        save_file({target: np.asarray(values, dtype=DTYPES[target])}, beside, metadata)


def read_intervention(path: Path) -> Intervention:
    """Read an intervention.

    Raises:
        UserError: unreadable, or not exactly one tensor of a known name.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            names = list(file.keys())
            if len(names) != 1 or names[0] not in DTYPES:
                raise UserError(
                    f"{path}: holds {', '.join(names) or 'nothing'}, an intervention holds one of"
                    f" {', '.join(DTYPES)}"
                )
            return Intervention(names[0], file.get_tensor(names[0]))
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
