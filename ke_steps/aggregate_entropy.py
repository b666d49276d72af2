"""Turn memory coefficients into knowledge entropy and its relatives, with bootstrap intervals.

Reads: Parquet of ``extract_coefficients``.
Writes: Parquet (``_tables.ENTROPY``), one row per (layer, quantity), and per quantity one row for
the whole model (``layer`` null). With a = mean |c| of the layer's m memories and p = a / Σ a:

- ``entropy_nats``: H = -Σ p log p; model: the sum over layers (paper, section 3);
- ``normalized_entropy``: H / log m, 1 when all memories are alike; model: H / (L log m);
- ``effective_number``: exp H, how many equally active memories would have this entropy;
  model: exp(H / L), the geometric mean over layers;
- ``gini``: Gini coefficient of a, 0 when all memories are alike; model: mean over layers;
- ``top_1_percent_share``: share of Σ a held by the ⌈m / 100⌉ most active; model: mean over layers;
- ``dormant_fraction``: share of memories with a below ``dormant_ratio`` times the layer's mean;
  model: mean over layers.

``low`` and ``high`` bound the basic bootstrap interval over the groups of instances.

Example::

    python -m ke_steps.aggregate_entropy --coefficients coefficients.parquet \
        --output entropy.parquet --settings '{"num_bootstrap": 1000, "confidence": 0.95,
        "dormant_ratio": 0.1, "seed": 0}'
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ke_steps import _cli, _tables
from ke_steps._errors import UserError
from ke_steps._statistics import basic_interval, bootstrap_weights
from ke_steps.settings import AggregateEntropy

Array = NDArray[np.float64]


def run(*, coefficients: Path, output: Path, settings: AggregateEntropy) -> None:
    """Compute entropies with intervals from memory coefficients."""
    group_activity = read_group_activity(coefficients)
    _tables.write_table(output, list(entropy_rows(group_activity, settings)), _tables.ENTROPY)


def read_group_activity(path: Path) -> Array:
    """Return ``group_mean_absolute`` as (num_layers, num_groups, m).

    Raises:
        UserError: not a table of coefficients, or a layer without any activity.
    """
    table = _tables.read_table(path)
    if "group_mean_absolute" not in table.column_names:
        raise UserError(f"{path}: not a table of coefficients, columns are {table.column_names}")
    num_groups = table.schema.field("group_mean_absolute").type.list_size
    if not table.schema.equals(_tables.coefficients_schema(num_groups), check_metadata=False):
        raise UserError(f"{path}: not a table of coefficients, columns are {table.column_names}")
    num_layers = table.column("layer")[-1].as_py() + 1
    flat = table.column("group_mean_absolute").combine_chunks().flatten().to_numpy()
    activity: Array = flat.reshape(num_layers, -1, num_groups).swapaxes(1, 2)
    silent = np.argwhere(activity.sum(axis=2) == 0)
    if len(silent):
        raise UserError(f"{path}: layer {silent[0][0]} has no activity at all")
    return activity


def entropy_rows(
    group_activity: Array, settings: AggregateEntropy
) -> Iterator[dict[str, int | float | str | None]]:
    """Yield rows of ``_tables.ENTROPY`` from activities (num_layers, num_groups, m)."""
    num_layers, num_groups, m = group_activity.shape
    weights = bootstrap_weights(num_groups, settings.num_bootstrap, settings.seed)
    # the estimate rides along as row 0, so that it and its replicates go through the same code
    weights = np.vstack([np.full(num_groups, 1 / num_groups), weights])
    total: dict[str, Array] = {}
    for layer in range(num_layers):
        # one layer at a time: the replicates of a whole model would fill the memory
        for name, values in quantities(
            weights @ group_activity[layer], settings.dormant_ratio
        ).items():
            yield _row(layer, name, values, settings.confidence)
            total[name] = total.get(name, 0) + values
    for name, values in model_quantities(total, num_layers, m).items():
        yield _row(None, name, values, settings.confidence)


def _row(
    layer: int | None, quantity: str, values: Array, confidence: float
) -> dict[str, int | float | str | None]:
    low, high = basic_interval(values[0], values[1:], confidence)
    return {
        "layer": layer,
        "quantity": quantity,
        "value": float(values[0]),
        "low": float(low),
        "high": float(high),
    }


def quantities(activity: Array, dormant_ratio: float) -> dict[str, Array]:
    """Return every quantity (…,) of one layer's activities (…, m)."""
    entropy = entropy_nats(activity)
    return {
        "entropy_nats": entropy,
        "normalized_entropy": entropy / math.log(activity.shape[-1]),
        "effective_number": np.exp(entropy),
        "gini": gini(activity),
        "top_1_percent_share": top_share(activity, 0.01),
        "dormant_fraction": dormant_fraction(activity, dormant_ratio),
    }


def model_quantities(sums: dict[str, Array], num_layers: int, m: int) -> dict[str, Array]:
    """Return every quantity of the whole model, from the sums over layers."""
    means = {name: values / num_layers for name, values in sums.items()}
    return means | {
        "entropy_nats": sums["entropy_nats"],
        "effective_number": np.exp(means["entropy_nats"]),
    }


def entropy_nats(activity: Array) -> Array:
    """Return the Shannon entropy in nats (…,) of activities (…, m), normalised to sum to 1.

    0 · log 0 is 0. Bounds: 0 (one memory does everything) and log m (all are alike).
    """
    p = activity / activity.sum(axis=-1, keepdims=True)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    return -np.einsum("...m,...m->...", p, logs)


def gini(activity: Array) -> Array:
    """Return the Gini coefficient (…,) of activities (…, m): Σᵢ (2i - m - 1) aᵢ / (m Σ a), sorted.

    Bounds: 0 (all memories are alike) and 1 - 1/m (one does everything).
    """
    m = activity.shape[-1]
    ranks = 2 * np.arange(1, m + 1) - m - 1
    return np.sort(activity, axis=-1) @ ranks / (m * activity.sum(axis=-1))


def top_share(activity: Array, fraction: float) -> Array:
    """Return the share (…,) of all activity (…, m) held by the ⌈fraction · m⌉ most active."""
    m = activity.shape[-1]
    num_top = math.ceil(fraction * m)
    top = np.partition(activity, m - num_top, axis=-1)[..., m - num_top :]
    return top.sum(axis=-1) / activity.sum(axis=-1)


def dormant_fraction(activity: Array, dormant_ratio: float) -> Array:
    """Return the share (…,) of memories below ``dormant_ratio`` times the mean of (…, m)."""
    threshold = dormant_ratio * activity.mean(axis=-1, keepdims=True)
    return (activity < threshold).mean(axis=-1)


if __name__ == "__main__":
    _cli.main(run)
