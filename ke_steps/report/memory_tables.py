"""Tables of the report on checkpoints and their memories, and on how their ranking moves."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ke_steps.report.cells import MISSING, Cell, Number, lay_out
from ke_steps.report.tables import Heading, Table, data_uri, short_table

MAX_MEMORY_ROWS = 160
MAX_CHECKPOINTS = 8
"""Of one model, evenly spread, the first and the last among them; the CSV has all."""


class MemoryPage(NamedTuple):
    """The memories of a checkpoint, or of a model, as shown."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]


def checkpoint_table(checkpoints: pd.DataFrame) -> Table:
    """Return where each checkpoint is from, and which hold the same weights."""
    rows = [
        {
            "model": row["model"],
            "step": row["step"],
            "same weights as": _same_weights(row),
            "source": row["source"],
            "from": row["place"] or MISSING,
            "architecture": row["architecture"],
            "layers": row["num_layers"],
            "memories per layer": row["num_memories"],
            "parameters": row["num_parameters"],
            "weights (sha256)": row["weights_sha256"][:12],
        }
        for row in checkpoints.to_dict("records")
    ]
    if checkpoints["same_weights_as"].isna().all():
        rows = [
            {key: text for key, text in row.items() if key != "same weights as"} for row in rows
        ]
    note = (
        "The hash is over names, shapes and values of all parameters, whatever files and dtypes"
        " they are stored in; the first 12 digits are shown."
    )
    return short_table(Heading("checkpoints", "Checkpoints", note), rows, checkpoints)


def _same_weights(row: dict[Hashable, Any]) -> str:
    if pd.isna(row["same_weights_as"]):
        return ""
    other = row["same_weights_model"]
    model = "" if other == row["model"] else f"{other} "
    return f"⚠ {model}step {int(row['same_weights_as']):,}"


def ranking_table(rankings: pd.DataFrame, turnover_fraction: float) -> Table | None:
    """Return how the ranking of memories moves between checkpoints; None with one checkpoint."""
    if rankings.empty:
        return None
    rows = [
        {
            "model": row["model"],
            "from step": row["step_from"],
            "to step": row["step_to"],
            "rank correlation": Number(row["spearman"]),
            "most active kept, %": Number(row["most_active_kept"], "fraction"),
            "least active kept, %": Number(row["least_active_kept"], "fraction"),
        }
        for row in rankings[rankings["layer"].isna()].to_dict("records")
    ]
    share = f"{100 * turnover_fraction:g} %"
    note = (
        f"Memories of a layer ranked by mean |c|; means over layers, each layer in the CSV. Kept:"
        f" share of the most (least) active {share} of memories that still are; {share} would be"
        " chance."
    )
    if rankings["spearman"].isna().any():
        note += " –: there is none where all memories of a layer are alike, as in one that is dead."
    heading = Heading("rankings", "How the ranking of memories moves", note)
    return short_table(heading, rows, rankings)


def memory_pages(memories: pd.DataFrame) -> list[MemoryPage]:
    """Return the most and the least active memories of every checkpoint, the last stage first."""
    pages = []
    for model, found in memories.groupby("model", sort=False):
        for step in reversed(evenly_spread(sorted(found["step"].unique()))):
            pages.append(_page(f"{model}, step {step:,}", found[found["step"] == step]))
    return pages


def evenly_spread(steps: Sequence[int]) -> list[int]:
    """Return at most ``MAX_CHECKPOINTS`` of ascending steps."""
    indices = np.linspace(0, len(steps) - 1, min(MAX_CHECKPOINTS, len(steps)))
    return [steps[round(index)] for index in indices]


def _page(title: str, found: pd.DataFrame) -> MemoryPage:
    num_lists = found[["layer", "end"]].drop_duplicates().shape[0]
    num_ranks = max(1, MAX_MEMORY_ROWS // num_lists)
    shown = found[found["rank"] <= num_ranks]
    note = (
        "" if len(shown) == len(found) else f"The first {num_ranks} of each end; the CSV has all."
    )
    rows = [
        {
            "layer": row["layer"],
            "active": row["end"],
            "memory": row["memory"],
            "activity": MISSING
            if math.isnan(row["relative_activity"])
            else Cell(f"{row['relative_activity']:.3g}", row["relative_activity"]),
            "promotes": " ".join(map(visible, row["tokens"])) or MISSING,
        }
        for row in shown.to_dict("records")
    ]
    return MemoryPage(title, note, *lay_out(rows))


def visible(token: str) -> str:
    """Write a token so that its blanks and control characters can be seen."""
    return json.dumps(token, ensure_ascii=False)[1:-1].replace(" ", "␣")


def memories_csv(memories: pd.DataFrame) -> str:
    """Return every memory as a link to a gzipped CSV; tokens and scores are JSON lists."""
    lists = {
        key: [json.dumps(list(map(kind, found)), ensure_ascii=False) for found in memories[key]]
        for key, kind in (("tokens", str), ("scores", float))
    }
    content = memories.assign(**lists).to_csv(index=False, lineterminator="\n").encode()
    return data_uri(gzip.compress(content, mtime=0), "application/gzip")
