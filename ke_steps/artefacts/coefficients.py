"""What later steps read of a table of ``extract_coefficients``; imports no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ke_steps.artefacts.parquet import read_table
from ke_steps.job.errors import UserError


def read_activity(path: Path) -> NDArray[np.float64]:
    """Read mean |c| of every memory, (num_layers, m), from a table of coefficients or ``ACTIVITY``.

    Raises:
        UserError: not a table of coefficients.
    """
    table = read_table(path)
    if not {"layer", "mean_absolute"} <= set(table.column_names):
        raise UserError(f"{path}: not a table of coefficients, columns are {table.column_names}")
    return activity_of(table)


def activity_of(table: pa.Table) -> NDArray[np.float64]:
    """Return mean |c| (num_layers, m) of such a table."""
    num_layers = table.column("layer")[-1].as_py() + 1
    return table.column("mean_absolute").to_numpy().reshape(num_layers, -1)
