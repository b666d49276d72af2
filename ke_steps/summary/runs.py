"""The runs of a study, which of them diverged, and tables without those."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ke_steps.artefacts.learning_schemas import TRAINING
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.places import Identity
from ke_steps.artefacts.summary_schemas import RUNS
from ke_steps.formulas.divergence import diverged_at
from ke_steps.summary.parts import collect, identities

RUN = list(Identity._fields)
"""The columns that name a run."""


def runs_of(training: Iterable[Path]) -> pd.DataFrame:
    """Return RUNS from the training tables of all runs: one row per run."""
    paths = list(training)
    rows = pd.DataFrame([_run_row(path) for path in paths])
    return collect([(identities(paths), rows)], RUNS.names).astype({"diverged_at_step": "Int64"})


def _run_row(path: Path) -> dict[str, Any]:
    """Return how one run went; a loss that is no finite number is null.

    ``num_steps`` counts optimiser steps: none was done where the loss had become infinite.
    """
    training = read_frame(path, TRAINING)
    losses = training["loss_nats"].where(np.isfinite(training["loss_nats"]))
    is_done = np.isfinite(training[["loss_nats", "gradient_norm"]]).all(axis=1)
    return {
        "num_steps": int(is_done.sum()),
        "first_loss_nats": losses.iloc[0],
        "last_loss_nats": losses.iloc[-1],
        "diverged_at_step": diverged_at(training),
    }


def mark(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the column ``diverged_at_step``: null but in rows of diverged runs."""
    lost = runs[runs["diverged_at_step"].notna()]
    steps = dict(zip(_keys(lost), lost["diverged_at_step"], strict=True))
    found = [steps.get(run) for run in _keys(table)]
    return table.assign(diverged_at_step=pd.array(found, dtype="Int64"))


def converged(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table that are of no diverged run: those that means are taken over."""
    return table[mark(table, runs)["diverged_at_step"].isna().to_numpy()].reset_index(drop=True)


def diverged(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table that are of diverged runs."""
    return table[mark(table, runs)["diverged_at_step"].notna().to_numpy()].reset_index(drop=True)


def lost_states(table: pd.DataFrame) -> set[tuple[Any, ...]]:
    """Return the (model, step, variant, recipe) of a marked table all of whose runs diverged."""
    runs = table[table["recipe"].notna()]
    every = runs["diverged_at_step"].notna().groupby([runs[key] for key in RUN[:-1]]).all()
    return set(every.index[every])


def left_out(table: pd.DataFrame) -> str:
    """Return the words for how many runs of a marked table are in no mean; empty for none."""
    runs = table.loc[table["recipe"].notna(), [*RUN, "diverged_at_step"]].drop_duplicates()
    num_diverged = runs["diverged_at_step"].notna().sum()
    return f"{num_diverged} of {len(runs)} runs diverged" if num_diverged else ""


def _keys(table: pd.DataFrame) -> Iterable[tuple[Any, ...]]:
    return table[RUN].itertuples(index=False, name=None)
