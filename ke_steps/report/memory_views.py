"""The section of the report on layers and memories, in tables and as data of the page's views."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from ke_steps.report.cells import MISSING, Cell, Entry, estimated, lay_out
from ke_steps.report.memory_data import Place, Told, as_content, models_of
from ke_steps.report.memory_tables import (
    MAX_MEMORY_ROWS,
    MemoryPage,
    evenly_spread,
    memories_csv,
    memory_pages,
)
from ke_steps.report.tables import Heading, Results, Table, data_uri, short_table
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import DORMANT, ENTROPY, NORMALIZED_ENTROPY, unit_of

LAYER_COLUMNS = {
    ENTROPY.quantity: "H, nats",
    NORMALIZED_ENTROPY.quantity: "H / ln m, %",
    DORMANT.quantity: "dormant, %",
}
"""What is told of a layer, and the columns that tell it."""

NUM_OF_EACH_KIND = 3
"""Memories of a layer shown without the script: the most and least active, those that moved."""


class Views(NamedTuple):
    """What the section on layers and memories holds."""

    note: str
    """What of the memories is here; empty where all are."""
    layers: Table
    ranks: list[MemoryPage]
    ranks_csv: str
    described: list[MemoryPage]
    described_csv: str
    data: str
    """JSON, as the content of a script element."""


def memory_views(
    results: Results,
    ranks: pd.DataFrame,
    described: pd.DataFrame,
    checkpoints: pd.DataFrame,
    dormant_ratio: float,
) -> Views:
    """Return the section from MEMORY_RANKS, MEMORY_TABLE and CHECKPOINTS."""
    layers = layers_of(results.estimates)
    rows = _layer_rows(layers)
    sizes = checkpoints.groupby("model")["num_memories"].first().to_dict()
    data = {
        "heads": list(LAYER_COLUMNS.values()),
        "models": list(models_of(_told(layers, rows), ranks, described, sizes)),
    }
    note = (
        "In brackets the interval of sampling text, by bootstrap. Dormant: memories whose mean |c|"
        f" is below {dormant_ratio:g} times the layer's mean of it."
    )
    return Views(
        note=_left_out(ranks, sizes),
        layers=short_table(Heading("layers", "Layers", note), list(rows.values()), layers),
        ranks=list(rank_pages(ranks)),
        ranks_csv=_packed(ranks),
        described=memory_pages(described),
        described_csv=memories_csv(described),
        data=as_content(data),
    )


def layers_of(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return model, layer, step, quantity, value, low, high of the original checkpoints."""
    is_told = estimates["quantity"].isin(list(LAYER_COLUMNS)) & (estimates["variant"] == ORIGINAL)
    rows = estimates[is_told & estimates["group"].str.fullmatch(r"layer \d+")]
    layer = rows["group"].str.removeprefix("layer ").astype(int)
    columns = ["model", "layer", "step", "quantity", "value", "low", "high"]
    return rows.assign(layer=layer)[columns].sort_values(["model", "layer", "step"], kind="stable")


def _layer_rows(layers: pd.DataFrame) -> dict[Place, dict[str, Entry]]:
    """Return the table's rows by model, layer and step."""
    rows: dict[Place, dict[str, Entry]] = {}
    for point in layers.to_dict("records"):
        model, layer, step = point["model"], int(point["layer"]), int(point["step"])
        unknown = dict.fromkeys(LAYER_COLUMNS.values(), MISSING)
        row = rows.setdefault(
            (model, layer, step), {"model": model, "layer": layer, "step": step, **unknown}
        )
        row[LAYER_COLUMNS[point["quantity"]]] = estimated(unit_of(point["quantity"]), point)
    return rows


def _told(layers: pd.DataFrame, rows: Mapping[Place, Mapping[str, Entry]]) -> dict[Place, Told]:
    of_entropy = layers[layers["quantity"] == ENTROPY.quantity]
    entropies = of_entropy.set_index(["model", "layer", "step"])["value"].to_dict()
    laid = lay_out(list(rows.values()))
    first = len(laid.columns) - len(LAYER_COLUMNS)
    return {
        place: Told(
            entropies.get(place, math.nan),
            [text.replace("\n", " ") for text in texts[first:]],
        )
        for place, texts in zip(rows, laid.rows, strict=True)
    }


def rank_pages(ranks: pd.DataFrame) -> Iterator[MemoryPage]:
    """Yield a page per model: of each layer the two ends at the last stage, and what moved most."""
    for model, found in ranks.groupby("model", sort=False):
        rows = [
            {"layer": int(courses["layer"].iloc[0]), **row}
            for _, courses in found.groupby("layer")
            for row in _rank_rows(courses, found["layer"].nunique())
        ]
        if rows:
            yield MemoryPage(str(model), "", *lay_out(rows))


def _rank_rows(courses: pd.DataFrame, num_layers: int) -> Iterator[dict[str, Entry]]:
    by_step = courses.pivot(index="memory", columns="step", values="rank").astype(float)
    trained = by_step[courses.loc[courses["is_trained"], "step"].unique()]
    steps = sorted(courses["step"].unique().tolist())
    shown, last = evenly_spread(steps), steps[-1]
    activity = courses[courses["step"] == last].set_index("memory")["relative_activity"]
    number = min(NUM_OF_EACH_KIND, max(1, MAX_MEMORY_ROWS // (3 * num_layers)))
    kinds = {
        "most active": by_step[last].nsmallest(number).index,
        "least active": by_step[last].nlargest(number).index,
    }
    if trained.shape[1] > 1:
        kinds["moved most"] = (trained.max(axis=1) - trained.min(axis=1)).nlargest(number).index
    for kind, chosen in kinds.items():
        for memory in chosen.tolist():
            yield {
                "which": kind,
                "memory": memory,
                **{f"{step:,}": _whole(by_step[step][memory]) for step in shown},
                "activity": _short(activity[memory]),
            }


def _whole(rank: float) -> Entry:
    return MISSING if math.isnan(rank) else int(rank)


def _short(activity: float) -> Entry:
    return MISSING if math.isnan(activity) else Cell(f"{activity:.3g}", activity)


def _left_out(ranks: pd.DataFrame, sizes: Mapping[Any, int]) -> str:
    told = {
        str(model): found.groupby("layer")["memory"].nunique().max()
        for model, found in ranks.groupby("model", sort=False)
    }
    cut = [
        f"{number:,} of the {sizes[model]:,} memories of each layer of {model}"
        for model, number in told.items()
        if number < sizes[model]
    ]
    if not cut:
        return ""
    return (
        f"Here are {', '.join(cut)}: a third each of those that were the most active at any stage,"
        " the least active at any, and those whose rank moved most. Ranks are among all memories of"
        " a layer."
    )


def _packed(ranks: pd.DataFrame) -> str:
    content = ranks.to_csv(index=False, lineterminator="\n").encode()
    return data_uri(gzip.compress(content, mtime=0), "application/gzip")
