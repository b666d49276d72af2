r"""Where learning wrote: how the changes of the memories are spread, and over which memories.

Reads: Parquet of ``inject_knowledge`` (``learning_schemas.UPDATES``), and the coefficients of the
state that the run began with.
Writes: Parquet (``learning_schemas.UPDATE_STATISTICS``) for the memory vectors and for their keys,
one row per (layer, quantity), and per quantity one row for the whole model (``layer`` null). With
δ = ‖after - before‖ of a layer's m memories and p = δ / Σ δ:

- ``update_entropy_nats``: H = -Σ p ln p, ln m when all move alike; model: the sum over layers;
- ``update_normalized_entropy``: H / ln m; model: H / (L ln m);
- ``update_mean_relative``: mean of δ / ‖before‖, over memories whose vector is not zero;
- ``update_correlation_pearson``, ``update_correlation_spearman``: between δ and mean |c|;
- ``update_correlation_p_value``: of Spearman's, two-sided, when the memories of a layer are
  permuted; model: of the mean over layers, each permuted on its own;

all but the first and the last as the mean over layers for the model. Null where nothing defines it:
an entropy where nothing moved, a correlation where one side is the same for all memories.

    python -m ke_steps.aggregate_updates --updates …/inject_knowledge/…/updates.parquet \
        --coefficients …/coefficients.parquet --output updates.parquet \
        --settings '{"num_permutations": 1000, "seed": 0}'
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ke_steps.artefacts.coefficients import read_activity
from ke_steps.artefacts.learning_schemas import UPDATE_STATISTICS, UPDATES
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.formulas.entropy import entropy_nats
from ke_steps.formulas.permutation import permutation_p_value, permuted_correlations
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.measures import AggregateUpdates

Array = NDArray[np.float64]
VECTORS = ("memory", "key")


def run(*, updates: Path, coefficients: Path, output: Path, settings: AggregateUpdates) -> None:
    """Compute the statistics of one run's update map."""
    frame = read_frame(updates, UPDATES)
    activity = read_activity(coefficients)
    if len(frame) != activity.size or frame["layer"].nunique() != len(activity):
        raise UserError(
            f"{updates}: {frame['layer'].nunique()} layers with {len(frame)} memories in all, but"
            f" {coefficients} has {len(activity)} with {activity.size}: not of the same model"
        )
    write_table(output, list(statistics_rows(frame, activity, settings)), UPDATE_STATISTICS)


def statistics_rows(
    updates: pd.DataFrame, activity: Array, settings: AggregateUpdates
) -> Iterator[dict[str, Any]]:
    """Yield rows of ``learning_schemas.UPDATE_STATISTICS``.

    Args:
        updates: a frame of ``learning_schemas.UPDATES``, by layer and memory.
        activity: mean |c|, (num_layers, m).
        settings: of the permutation test.
    """
    changes_of = {
        vector: updates[f"{vector}_change"].to_numpy().reshape(activity.shape) for vector in VECTORS
    }
    by_chance = permuted(np.stack(list(changes_of.values())), activity, settings)
    for (vector, changes), chance in zip(changes_of.items(), by_chance, strict=True):
        norms = updates[f"{vector}_norm"].to_numpy().reshape(activity.shape)
        by_layer = [statistics(*layer) for layer in zip(changes, norms, activity, strict=True)]
        for layer, values in enumerate(by_layer):
            for quantity, value in values.items():
                yield _row(layer, vector, quantity, value)
        for quantity in by_layer[0]:
            values_of_layers = [values[quantity] for values in by_layer]
            total = math.fsum(values_of_layers)
            is_sum = quantity == "update_entropy_nats"
            yield _row(None, vector, quantity, total if is_sum else total / len(by_layer))
        observed = [values["update_correlation_spearman"] for values in by_layer]
        for layer, correlation in enumerate(observed):
            p_value = permutation_p_value(correlation, chance[layer])
            yield _row(layer, vector, "update_correlation_p_value", p_value)
        mean = math.fsum(observed) / len(observed)
        p_value = permutation_p_value(mean, chance.mean(axis=0))
        yield _row(None, vector, "update_correlation_p_value", p_value)


def permuted(changes: Array, activity: Array, settings: AggregateUpdates) -> Array:
    """Return Spearman's correlations (num_vectors, num_layers, num_permutations) by chance.

    Args:
        changes: δ, (num_vectors, num_layers, m).
        activity: mean |c|, (num_layers, m): permuted within each layer, which has its own orders.
        settings: how many permutations.
    """
    generator = np.random.default_rng(settings.seed)
    layers = [
        permuted_correlations(changes[:, layer], of_layer, settings.num_permutations, generator)
        for layer, of_layer in enumerate(activity)
    ]
    return np.stack(layers, axis=1)


def statistics(changes: Array, norms: Array, activity: Array) -> dict[str, float]:
    """Return every quantity of one layer from δ, ‖before‖ and mean |c|, each (m,)."""
    entropy = float(entropy_nats(changes)) if changes.any() else math.nan
    exists = norms > 0
    return {
        "update_entropy_nats": entropy,
        "update_normalized_entropy": entropy / math.log(len(changes)),
        "update_mean_relative": (
            float(np.mean(changes[exists] / norms[exists])) if exists.any() else math.nan
        ),
        "update_correlation_pearson": _correlation(changes, activity),
        "update_correlation_spearman": _correlation(
            np.asarray(pd.Series(changes).rank(), dtype=np.float64),
            np.asarray(pd.Series(activity).rank(), dtype=np.float64),
        ),
    }


def _correlation(x: Array, y: Array) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def _row(layer: int | None, vector: str, quantity: str, value: float) -> dict[str, Any]:
    return {
        "layer": layer,
        "vector": vector,
        "quantity": quantity,
        "value": None if math.isnan(value) else value,
    }


if __name__ == "__main__":
    main(run)
