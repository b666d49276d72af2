"""How the ranking of memories by activity moves between the checkpoints of a model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ke_steps.artefacts.summary_schemas import RANKINGS

Array = NDArray[np.float64]


class Change(NamedTuple):
    """What is left of one ranking in another."""

    spearman: float
    most_active_kept: float
    least_active_kept: float


def pairs(steps: list[int], *, has_untrained: bool) -> list[tuple[int, int]]:
    """Return the pairs of checkpoints to compare, from ascending steps.

    Each with the next, the untrained one included; then the first trained with the last.
    """
    consecutive = list(itertools.pairwise(steps))
    trained = [step for step in steps if step or not has_untrained]
    whole = [(trained[0], trained[-1])] if len(trained) > 2 else []
    return consecutive + whole


def change(before: Array, after: Array, fraction: float) -> Change:
    """Compare the rankings of a layer's memories by their activities, each (m,).

    The most and the least active set hold ``fraction`` of the memories, at least one; what is kept
    is the share of the earlier set that is in the later. By chance it would be ``fraction``. Equal
    activities rank in the order of the memories; where all are equal there is no ranking: NaN.
    """
    if np.ptp(before) == 0 or np.ptp(after) == 0:
        return Change(math.nan, math.nan, math.nan)
    size = max(1, round(fraction * len(before)))
    first, second = np.argsort(before, kind="stable"), np.argsort(after, kind="stable")
    return Change(
        float(stats.spearmanr(before, after).statistic),
        len(np.intersect1d(first[-size:], second[-size:])) / size,
        len(np.intersect1d(first[:size], second[:size])) / size,
    )


def ranking_rows(
    activities: Mapping[int, Array], model: str, fraction: float, *, has_untrained: bool
) -> Iterator[dict[str, object]]:
    """Yield rows of RANKINGS from activities (num_layers, m) by step: every layer, then the mean.

    Checkpoints of another size than their neighbour are refused by numpy: one model has one shape.
    """
    for step_from, step_to in pairs(sorted(activities), has_untrained=has_untrained):
        layers = [
            change(before, after, fraction)
            for before, after in zip(activities[step_from], activities[step_to], strict=True)
        ]
        mean = Change(*np.mean(layers, axis=0).tolist())
        place = {"model": model, "step_from": step_from, "step_to": step_to}
        for layer, found in [*enumerate(layers), (None, mean)]:
            yield {**place, "layer": layer, **found._asdict()}


def rankings_of(
    activities: Mapping[str, Mapping[int, Array]], fraction: float, untrained: Collection[str]
) -> pd.DataFrame:
    """Return RANKINGS from activities (num_layers, m) by model and step.

    ``untrained``: models whose step 0 is what pretraining began with.
    """
    rows = [
        row
        for model, steps in activities.items()
        for row in ranking_rows(steps, model, fraction, has_untrained=model in untrained)
    ]
    table = pd.DataFrame(rows, columns=RANKINGS.names)
    return table.astype({"layer": "Int32"})
