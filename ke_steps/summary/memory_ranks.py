"""The rank of each memory by activity at the checkpoints of a model, or of the telling ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ke_steps.artefacts.summary_schemas import MEMORY_RANKS
from ke_steps.summary.points import mark_trained

Array = NDArray[np.float64]
Ranks = NDArray[np.int64]

MAX_RANKS = 50_000
"""Of a whole study: a report shows them all, and OLMo-1B alone has 131,072 memories by stage."""


def ranks_of(activity: Array) -> Ranks:
    """Return ranks (…, m) of activities (…, m): 1 the most active, of equal ones the first."""
    order = np.argsort(-activity, axis=-1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, activity.shape[-1] + 1), axis=-1)
    return ranks


def telling(ranks: Ranks, is_trained: NDArray[np.bool_], number: int) -> Ranks:
    """Choose memories by their ranks (num_stages, m), ascending; all where there are no more.

    A third each are those that were the most active at any stage, the least active at any, and
    those with the widest range of ranks over trained stages, which fill up what the others share.
    """
    num_stages, num_memories = ranks.shape
    if number >= num_memories or not num_stages:
        return np.arange(min(number, num_memories))
    highest, lowest = ranks.min(axis=0), ranks.max(axis=0)
    widest = np.ptp(ranks[is_trained], axis=0) if is_trained.any() else lowest - highest
    most, least, moved = (
        np.argsort(key, kind="stable").tolist() for key in (highest, -lowest, -widest)
    )
    third = number // 3
    chosen = dict.fromkeys([*most[:third], *least[:third], *moved])
    return np.sort(list(chosen)[:number])


def memory_ranks(
    activities: Mapping[str, Mapping[int, Array]], untrained: Collection[str]
) -> pd.DataFrame:
    """Return MEMORY_RANKS from activities (num_layers, m) by model and step.

    Each layer has an equal share of ``MAX_RANKS``, but three memories at least. ``untrained``:
    models whose step 0 is what pretraining began with.
    """
    num_layers = [
        len(activity) for stages in activities.values() for activity in stages.values()
    ]  # of each stage
    number = max(3, MAX_RANKS // max(1, sum(num_layers)))
    frames = [
        frame
        for model, stages in activities.items()
        for frame in _layers(model, stages, model in untrained, number)
    ]
    table = pd.concat(frames) if frames else pd.DataFrame(columns=MEMORY_RANKS.names)
    table = mark_trained(table, untrained).astype({"rank": "Int32"})
    return table.sort_values(["model", "layer", "memory", "step"], ignore_index=True)


def _layers(
    model: str, stages: Mapping[int, Array], has_untrained: bool, number: int
) -> Iterator[pd.DataFrame]:
    """Yield each layer's rows; where all of its memories are alike there are no ranks."""
    steps = np.array(sorted(stages))
    activity = np.stack([stages[step] for step in steps])  # (num_stages, num_layers, m)
    for layer in range(activity.shape[1]):
        found = activity[:, layer]
        ranks, is_ranked = ranks_of(found), np.ptp(found, axis=-1) > 0
        is_trained = (steps > 0) | (not has_untrained)
        chosen = telling(ranks[is_ranked], is_trained[is_ranked], number)
        means = found.mean(axis=-1, keepdims=True)
        relative = found / np.where(means > 0, means, np.nan)
        shown = np.where(is_ranked[:, None], ranks, np.nan)[:, chosen]
        yield pd.DataFrame(
            {
                "model": model,
                "step": np.repeat(steps, len(chosen)),
                "layer": layer,
                "memory": np.tile(chosen, len(steps)),
                "rank": shown.ravel(),
                "relative_activity": relative[:, chosen].ravel(),
            }
        )
