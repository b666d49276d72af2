"""What is measured of one model: a table by layer, the model's values, and where they are from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ke_steps.aggregate_entropy import run as aggregate_entropy
from ke_steps.artefacts.measure_schemas import ENTROPY
from ke_steps.artefacts.parquet import read_frame, read_provenance
from ke_steps.artefacts.sequences import read_sequences
from ke_steps.measuring.instances import count_tokens
from ke_steps.public.sampling import Sample
from ke_steps.public.steps import run_step
from ke_steps.settings.measures import AggregateEntropy
from ke_steps.texts.tokenizers import load_tokenizer

WRITTEN = ("sequences", "coefficients", "entropy")
"""Tables of a sample, one of each step."""

COLUMNS = {
    "entropy_nats": ("absolute", "entropy_nats", "value"),
    "low": ("absolute", "entropy_nats", "low"),
    "high": ("absolute", "entropy_nats", "high"),
    "normalized_entropy": ("absolute", "normalized_entropy", "value"),
    "effective_number": ("absolute", "effective_number", "value"),
    "dormant_fraction": ("absolute", "dormant_fraction", "value"),
    "contribution_entropy_nats": ("contribution", "entropy_nats", "value"),
}
"""Column → measure, quantity and column of ``measure_schemas.ENTROPY``."""

HEADINGS = {
    "layer": "layer",
    "entropy_nats": "H",
    "low": "low",
    "high": "high",
    "normalized_entropy": "H/ln m",
    "effective_number": "effective",
    "dormant_fraction": "dormant",
    "contribution_entropy_nats": "H contribution",
}
FOUR_DECIMALS = "{:,.4f}".format
FORMATS = {"effective_number": "{:,.1f}".format}
"""Of printed columns, where they do not have four decimals."""


@dataclass(frozen=True)
class Measurement:
    """Knowledge entropy of one model on one sample of text.

    ``print`` shows it as a table. Values are NaN where no memory of a layer has any activity.
    """

    name: str
    """The model."""

    by_layer: pd.DataFrame
    """``layer`` int, and ``COLUMNS``, all float; entropies in nats, 95 % intervals."""

    total: pd.Series[float]
    """``COLUMNS`` of the model: sums of entropies over layers, means of the other quantities."""

    num_sequences: int
    num_tokens: int
    provenance: Mapping[str, Mapping[str, Any]]
    """By step: its settings, code digest, package versions, and hashes of what it read."""

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values, null where a value is undefined."""
        return {
            "model": self.name,
            "total": {name: _or_null(value) for name, value in self.total.items()},
            "by_layer": [
                {name: _or_null(value) for name, value in row.items()}
                for row in self.by_layer.to_dict("records")
            ],
            "num_sequences": self.num_sequences,
            "num_tokens": self.num_tokens,
            "provenance": self.provenance,
        }

    def __str__(self) -> str:
        """Return a line on what was measured, and the table."""
        total = pd.DataFrame([{"layer": "all", **self.total}])
        rows = pd.concat([self.by_layer.astype({"layer": object}), total])
        return f"{self.describe()}\n\n{render(rows)}"

    def describe(self) -> str:
        """Return in a line what was measured, on how much text, and how exactly."""
        extraction = self.provenance["extract_coefficients"]
        settings = extraction["settings"]
        length = self.provenance["prepare_corpus"]["settings"]["sequence_length_tokens"]
        return (
            f"{self.name}: {self.num_sequences:,} sequences of {length:,} tokens,"
            f" {self.num_tokens:,} in all; {settings['precision']} on {extraction['device']}"
        )


def conclude(
    sample: Sample, *, name: str, checkpoint: Mapping[str, Any] | None = None
) -> Measurement:
    """Turn an extraction into entropies as ``aggregate_entropy`` does; return what it gives.

    Args:
        sample: which was measured; the two tables of ``extract_coefficients`` are in its folder.
        name: of the model.
        checkpoint: the provenance of a model that a step fetched.
    """
    run_step(
        aggregate_entropy,
        AggregateEntropy(),
        coefficients=sample.table("coefficients"),
        token_entropies=sample.table("token_entropies"),
        sequences=sample.table("sequences"),
        output_entropy=sample.table("entropy"),
        output_replicates=sample.table("replicates"),
        output_activity=sample.table("activity"),
        output_distribution=sample.table("distribution"),
    )
    by_layer, total = read_entropies(sample.table("entropy"))
    tokenizer = load_tokenizer(sample.tokenizer.parent)
    input_ids = read_sequences(sample.table("sequences"), vocab_size=tokenizer.vocab_size)
    written = [read_provenance(sample.table(each)) for each in WRITTEN]
    origins = written if checkpoint is None else [checkpoint, *written]
    return Measurement(
        name,
        by_layer,
        total,
        sample.num_sequences,
        int(count_tokens(input_ids[: sample.num_sequences], tokenizer).sum()),
        {origin["step"]: origin for origin in origins},
    )


def read_entropies(path: Path) -> tuple[pd.DataFrame, pd.Series[float]]:
    """Return what a table of ``aggregate_entropy`` says of each layer, and of the model."""
    frame = read_frame(path, ENTROPY).set_index(["measure", "quantity"])
    columns = {
        column: frame.loc[[(measure, quantity)]].set_index("layer")[value]
        for column, (measure, quantity, value) in COLUMNS.items()
    }
    table = pd.DataFrame(columns)
    by_layer = table[table.index.notna()].rename_axis("layer").reset_index()
    return by_layer.astype({"layer": int}), table[table.index.isna()].iloc[0].rename(None)


def render(rows: pd.DataFrame) -> str:
    """Return rows as a table in text, under ``HEADINGS``, numbers rounded for reading."""
    formatters = {HEADINGS[each]: FORMATS.get(each, FOUR_DECIMALS) for each in COLUMNS}
    shown = rows.rename(columns=HEADINGS)
    return str(shown.to_string(index=False, formatters=formatters))


def _or_null(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
