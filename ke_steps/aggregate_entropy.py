"""Turn measures of a checkpoint into entropies and their relatives, with bootstrap intervals.

Reads: the two Parquet tables of ``extract_coefficients``, and the sequences that they are of, whose
hash says which entropies are of the same groups.
Writes: the bootstrap replicates of every entropy (``artefacts.replicates``); mean |c| of every
memory, and its distribution in each layer (``activity_schemas``), so that the summary reads no
large table; and Parquet (``measure_schemas.ENTROPY``), one row per (measure, layer, quantity), and
per quantity one row for the whole model (``layer`` null). A measure gives every one of a layer's m
memories an activity a, the mean over tokens, then instances, of

- ``absolute``: |c| (paper, section 3);
- ``positive``: max(c, 0) = (|c| + c) / 2;
- ``contribution``: |c| · ‖v‖, the length of what the memory adds to the output; rescaling a memory
  vector and its coefficient inversely does not change it;
- ``relu_gate``: |c| with ReLU in place of the activation, and ``attribution``: |c · ∂L/∂c|, which
  such a rescaling does not change either; both only where they were extracted.

With p = a / Σ a, each measure has the quantities

- ``entropy_nats``: H = -Σ p log p; model: the sum over layers (paper, section 3);
- ``normalized_entropy``: H / log m, 1 when all memories are alike; model: H / (L log m);
- ``effective_number``: exp H, how many equally active memories would have this entropy;
  model: exp(H / L), the geometric mean over layers;
- ``gini``: Gini coefficient of a, 0 when all memories are alike; model: mean over layers;
- ``top_1_percent_share``: share of Σ a held by the ⌈m / 100⌉ most active; model: mean over layers;
- ``dormant_fraction``: share of memories with a below ``dormant_ratio`` times the layer's mean;
  model: mean over layers.

Two measures have ``entropy_nats`` alone, where they were extracted: ``attention``, the entropy of
attention rows, mean over heads; model: the sum over layers; and ``next_token``, of the predictive
distribution, for the model only.

``low`` and ``high`` bound the basic bootstrap interval over the groups of instances, within what
the quantity can be; null where some resample leaves it undefined. A layer in which no memory has
any activity by a measure (no contribution where the output projection is zero) has no distribution
of it: null there, and for the model.

Example::

    python -m ke_steps.aggregate_entropy --coefficients coefficients.parquet \
        --token-entropies token_entropies.parquet --sequences sequences.parquet \
        --output-entropy entropy.parquet --output-replicates replicates.parquet \
        --output-activity activity.parquet --output-distribution distribution.parquet \
        --settings '{"num_bootstrap": 1000, "confidence": 0.95, "dormant_ratio": 0.1, "seed": 0}'
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ke_steps.artefacts.activity_schemas import ACTIVITY, DISTRIBUTION
from ke_steps.artefacts.coefficients import activity_of
from ke_steps.artefacts.measure_schemas import ENTROPY, TOKEN_ENTROPIES, coefficients_schema
from ke_steps.artefacts.parquet import provenance_of, read_frame, read_table, write_table
from ke_steps.artefacts.replicates import (
    REPLICATES,
    Resampled,
    group_of_layer,
    name_of_units,
    quantity_of_measure,
)
from ke_steps.formulas.bootstrap import bootstrap_weights, sampling_interval
from ke_steps.formulas.entropy import Array, highest, model_quantities, quantities
from ke_steps.formulas.quantiles import QUANTILES, relative_quantiles
from ke_steps.job import provenance
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.measures import AggregateEntropy
from ke_steps.summary.agreements import NOTE

Row = dict[str, int | float | str | None]


class Found(NamedTuple):
    """A quantity of a layer, or of the model (layer None)."""

    measure: str
    layer: int | None
    quantity: str
    values: Array
    """(1 + num_bootstrap,): the estimate, and its replicates."""
    num_groups: int
    highest: float = math.inf
    """The greatest value that it can have."""

    def row(self, confidence: float) -> Row:
        """Return the row of ``measure_schemas.ENTROPY``."""
        value = float(self.values[0])
        low, high = sampling_interval(value, self.values[1:], 0.0, confidence, (0.0, self.highest))
        numbers = {"value": value, "low": low, "high": high}
        return {
            "layer": self.layer,
            "measure": self.measure,
            "quantity": self.quantity,
            **{name: None if math.isnan(number) else number for name, number in numbers.items()},
            "num_items": self.num_groups,
        }


def run(
    *,
    coefficients: Path,
    token_entropies: Path,
    sequences: Path,
    output_entropy: Path,
    output_replicates: Path,
    output_activity: Path,
    output_distribution: Path,
    settings: AggregateEntropy,
) -> None:
    """Compute entropies with intervals from coefficients, attention and predictions."""
    found: list[Found] = []
    table = read_coefficients(coefficients)
    if difference := provenance_of(table.schema).get(NOTE):
        provenance.note(NOTE, difference)
    for measure, activity in group_activities(table):
        found += of_activity(measure, activity, settings)
    attention, next_token = read_token_entropies(token_entropies)
    found += of_attention(attention, settings)
    found += of_next_token(next_token, settings)
    write_table(output_entropy, [each.row(settings.confidence) for each in found], ENTROPY)
    write_table(
        output_replicates,
        replicate_rows(found, provenance.hash_of_input(sequences), settings),
        REPLICATES,
    )
    write_table(output_activity, table.select(ACTIVITY.names).to_pydict(), ACTIVITY)
    write_table(output_distribution, distribution(table), DISTRIBUTION)


def distribution(coefficients: pa.Table) -> dict[str, Array]:
    """Return the columns of ``DISTRIBUTION``."""
    quantiles = relative_quantiles(activity_of(coefficients))
    num_layers = len(quantiles)
    return {
        "layer": np.repeat(np.arange(num_layers), len(QUANTILES)),
        "quantile": np.tile(QUANTILES, num_layers),
        "relative_activity": quantiles.ravel(),
    }


def replicate_rows(
    found: Iterable[Found], sequences: str, settings: AggregateEntropy
) -> list[dict[str, Any]]:
    """Return rows of ``REPLICATES`` for every entropy; ``sequences`` names those of all groups."""
    rows = []
    for each in found:
        if each.quantity == "entropy_nats":
            units = [sequences, each.measure, each.num_groups]
            name = name_of_units(units, settings.num_bootstrap, settings.seed)
            resampled = Resampled(float(each.values[0]), each.values[1:], each.num_groups, name)
            quantity = quantity_of_measure(each.measure, each.quantity)
            rows.append(resampled.row(quantity, group_of_layer(each.layer)))
    return rows


def read_coefficients(path: Path) -> pa.Table:
    """Return a table of coefficients.

    Raises:
        UserError: not a table of coefficients.
    """
    table = read_table(path)
    if "group_mean_absolute" not in table.column_names:
        raise UserError(f"{path}: not a table of coefficients, columns are {table.column_names}")
    num_groups = table.schema.field("group_mean_absolute").type.list_size
    if not table.schema.equals(coefficients_schema(num_groups), check_metadata=False):
        raise UserError(f"{path}: not a table of coefficients, columns are {table.column_names}")
    return table


def group_activities(table: pa.Table) -> Iterator[tuple[str, Array]]:
    """Yield every measure of such a table with its activities (num_layers, num_groups, m)."""
    num_groups = table.schema.field("group_mean_absolute").type.list_size
    num_layers = table.column("layer")[-1].as_py() + 1

    def by_group(column: str) -> Array:
        flat = table.column(column).combine_chunks().flatten().to_numpy().astype(np.float64)
        activity: Array = flat.reshape(num_layers, -1, num_groups).swapaxes(1, 2)
        return activity

    absolute = by_group("group_mean_absolute")
    yield "absolute", absolute
    # the two means are rounded apart, so that a memory that is never positive can fall below zero
    yield "positive", np.maximum(absolute + by_group("group_mean"), 0) / 2
    norms = table.column("memory_norm").to_numpy().reshape(num_layers, 1, -1)
    yield "contribution", absolute * norms
    for measure in ("relu_gate", "attribution"):
        column = f"group_mean_{measure}"
        if table.column(column).null_count == 0:
            yield measure, by_group(column)


def read_token_entropies(path: Path) -> tuple[Array, Array]:
    """Return entropies of attention (num_layers, num_groups) and of predictions (num_groups,).

    Attention is the mean over heads. What was not extracted is (0, 0), respectively (0,).
    """
    frame = read_frame(path, TOKEN_ENTROPIES)
    attention = frame[frame["quantity"] == "attention"]
    by_layer = attention.pivot_table(index="layer", columns="group", values="entropy_nats")
    next_token = frame[frame["quantity"] == "next_token"].sort_values("group")
    return by_layer.to_numpy(np.float64), next_token["entropy_nats"].to_numpy(np.float64)


def of_activity(measure: str, group_activity: Array, settings: AggregateEntropy) -> Iterator[Found]:
    """Yield every quantity of activities (num_layers, num_groups, m)."""
    num_layers, num_groups, m = group_activity.shape
    weights = resampling_weights(num_groups, settings)
    total: dict[str, Array] = {}
    for layer in range(num_layers):
        # one layer at a time: the resampled activities of a whole model would fill the memory
        for name, values in quantities(
            weights @ group_activity[layer], settings.dormant_ratio
        ).items():
            yield Found(measure, layer, name, values, num_groups, highest(name, 1, m))
            total[name] = total.get(name, 0) + values
    for name, values in model_quantities(total, num_layers, m).items():
        yield Found(measure, None, name, values, num_groups, highest(name, num_layers, m))


def of_attention(entropies: Array, settings: AggregateEntropy) -> Iterator[Found]:
    """Yield every quantity of entropies (num_layers, num_groups)."""
    num_layers, num_groups = entropies.shape
    if num_layers:
        means = resampling_weights(num_groups, settings) @ entropies.T
        for layer in range(num_layers):
            yield Found("attention", layer, "entropy_nats", means[:, layer], num_groups)
        yield Found("attention", None, "entropy_nats", means.sum(axis=1), num_groups)


def of_next_token(entropies: Array, settings: AggregateEntropy) -> Iterator[Found]:
    """Yield the entropy of predictions from that of groups (num_groups,), if there are any."""
    if num_groups := len(entropies):
        means = resampling_weights(num_groups, settings) @ entropies
        yield Found("next_token", None, "entropy_nats", means, num_groups)


def resampling_weights(num_groups: int, settings: AggregateEntropy) -> Array:
    """Return weights (1 + num_bootstrap, num_groups) of the groups.

    The estimate rides along as row 0, so that it and its replicates go through the same code.
    """
    weights = bootstrap_weights(num_groups, settings.num_bootstrap, settings.seed)
    return np.vstack([np.full(num_groups, 1 / num_groups), weights])


if __name__ == "__main__":
    main(run)
