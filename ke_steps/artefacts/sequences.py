"""Packed sequences, read as one array: no token becomes a Python object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ke_steps.artefacts.parquet import read_table
from ke_steps.artefacts.text_schemas import sequences_schema
from ke_steps.job.errors import UserError


def read_sequences(path: Path, *, vocab_size: int) -> NDArray[np.int32]:
    """Read a table of ``text_schemas.sequences_schema`` as token ids (num_sequences, T).

    Raises:
        UserError: the table has another form, no row, or token ids outside the vocabulary.
    """
    table = read_table(path)
    length = max((getattr(type, "list_size", 0) for type in table.schema.types), default=0)
    if not table.schema.equals(sequences_schema(length), check_metadata=False):
        raise UserError(f"{path}: not a table of packed sequences (fixed-size lists of int32)")
    if not len(table):
        raise UserError(f"{path}: holds no sequence")
    column = table.column("input_ids").combine_chunks()
    tokens: NDArray[np.int32] = column.flatten().to_numpy().reshape(-1, length)
    for extreme in (int(tokens.max()), int(tokens.min())):
        if not 0 <= extreme < vocab_size:
            raise UserError(
                f"{path}: token id {extreme} is outside the model's vocabulary of {vocab_size};"
                " was it made with another tokenizer?"
            )
    return tokens
