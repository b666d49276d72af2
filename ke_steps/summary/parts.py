"""Results of many files as one table: each row under the identity of its file.

A study can have thousands of runs, each with several small files: a data frame of its own for each,
and what is computed on it, would take minutes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from ke_steps.artefacts.parquet import read_table
from ke_steps.artefacts.places import Identity, identify
from ke_steps.settings.learning import ORIGINAL

Source = TypeVar("Source")
Part = tuple[Sequence[Identity], pd.DataFrame]
"""Rows and what they are of: the index holds the position of each row's identity."""


def identities(paths: Iterable[Path]) -> list[Identity]:
    """Return what each file is of."""
    return [identify(path) for path in paths]


def read_all(paths: Sequence[Path], schema: pa.Schema) -> pd.DataFrame:
    """Return the rows of several tables of a schema; the index is the position of their file."""
    tables = [read_table(path, schema) for path in paths]
    joined = pa.concat_tables([schema.empty_table(), *tables]).to_pandas()
    return joined.set_axis(np.repeat(np.arange(len(tables)), [len(table) for table in tables]))


def one_by_one(sources: Iterable[Source], read: Callable[[Source], pd.DataFrame]) -> pd.DataFrame:
    """Return what is read of each source; the index is the position of the source."""
    frames = [read(source) for source in sources]
    joined = pd.concat([pd.DataFrame(), *frames])
    return joined.set_axis(np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]))


def collect(parts: Iterable[Part], columns: list[str]) -> pd.DataFrame:
    """Join tables under the identities of their rows, in a stable order: the original first.

    Returns the named columns; those that no table has are null, and without rows no rows.
    """
    found = [part for part in parts if len(part[1])]
    if not found:
        return pd.DataFrame(columns=columns)
    names, frames = zip(*found, strict=True)
    places = pd.DataFrame(itertools.chain(*names), columns=Identity._fields)
    places = places.astype({"seed": "Int64"})
    places["is_variant"] = places["variant"] != ORIGINAL
    firsts = np.cumsum([0, *map(len, names)])
    own = [frame.index + first for first, frame in zip(firsts, frames, strict=False)]
    table = pd.concat(
        [
            places.loc[np.concatenate(own)].reset_index(drop=True),
            pd.concat(frames, ignore_index=True),
        ],
        axis=1,
    )
    keys = ["model", "step", "is_variant", "variant", "recipe", "seed"]
    table = table.sort_values(keys, na_position="first", kind="stable", ignore_index=True)
    return table.reindex(columns=columns)
