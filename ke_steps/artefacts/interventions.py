"""Interventions: small safetensors files with one tensor, applied to a checkpoint on load.

- ``up_rows`` (num_layers, m) fp32: factors on the rows of the up projections of a gated model;
- ``key_rows`` (num_layers, m) fp32: factors on the key rows, and their biases, of an ungated model;
- ``query_rows`` () fp32: one factor on all query projections.

This module imports neither torch nor transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.job.files import canonical_json, replacing

Target = Literal["up_rows", "key_rows", "query_rows"]


class Intervention(NamedTuple):
    """Factors, and what they multiply."""

    target: Target
    factors: NDArray[np.float32]


def write_intervention(path: Path, target: Target, factors: NDArray[Any] | float) -> None:
    """Write an intervention's factors as fp32, with provenance as metadata."""
    metadata = {"ke_steps": canonical_json(provenance.current())}
    with replacing(path) as beside:
        save_file({target: np.asarray(factors, dtype=np.float32)}, beside, metadata)


def read_intervention(path: Path) -> Intervention:
    """Read an intervention.

    Raises:
        UserError: unreadable, or not exactly one tensor of a known name.
    """
    targets = get_args(Target)
    try:
        with safetensors.safe_open(path, "numpy") as file:
            names = list(file.keys())
            if len(names) != 1 or names[0] not in targets:
                raise UserError(
                    f"{path}: holds {', '.join(names) or 'nothing'}, an intervention holds one of"
                    f" {', '.join(targets)}"
                )
            return Intervention(names[0], file.get_tensor(names[0]))
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
