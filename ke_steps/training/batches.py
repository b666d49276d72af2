"""What a training does with which sequences: its optimisation, its items, its batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from torch.utils.data import Dataset

from ke_steps.artefacts.sequences import read_sequences
from ke_steps.job.errors import UserError
from ke_steps.models import ranks
from ke_steps.settings.schedules import DECAY_FRACTION, Schedule


@dataclass(frozen=True)
class Optimisation:
    """How a run optimises; the fields are called as in the settings."""

    num_steps: int
    batch_size_sequences: int
    micro_batch_size_sequences: int
    learning_rate: float
    warmup_fraction: float
    min_learning_rate_ratio: float
    weight_decay: float
    max_gradient_norm: float
    precision: Literal["fp32", "bf16"]
    num_epochs: int = 1
    schedule: Schedule = "cosine"
    decay_fraction: float | None = None
    contribution_entropy_weight: float = 0.0
    compile: bool = False

    @classmethod
    def of(cls, settings: BaseModel, **fixed: Any) -> Optimisation:
        """Take what the settings say of it, and ``fixed`` for what they leave to the step."""
        said = settings.model_dump(include={each.name for each in fields(cls)})
        return cls(**said, **fixed)

    @property
    def num_sequences(self) -> int:
        """Sequences that the run consumes, each once in an epoch."""
        return self.num_steps // self.num_epochs * self.batch_size_sequences

    @property
    def num_warmup_steps(self) -> int:
        """Steps of linear warm-up: 80 of the paper's 1,600."""
        return round(self.warmup_fraction * self.num_steps)

    @property
    def num_decay_steps(self) -> int:
        """Steps at the end in which the rate of ``warmup_stable_decay`` falls, one at least."""
        return max(1, round((self.decay_fraction or DECAY_FRACTION) * self.num_steps))


@dataclass(frozen=True)
class TrainingSequences(Dataset[NDArray[np.int32]]):
    """The sequences of a run in the order of training: item i is row i % B of step 1 + i // B."""

    sequences: NDArray[np.int32]
    """Token ids (num_sequences, T), memory-mapped or not; read row by row."""

    num_items: int
    """How many sequences an epoch consumes, from ``first`` on and wrapping round."""

    first: int = 0
    num_epochs: int = 1
    """How often the run goes over them, each time in the same order."""

    order: NDArray[np.int64] | None = None
    """The places (num_sequences,) of the sequences in the order of training; None: as they are."""

    prefixes: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """Token ids that precede item i, whose own tokens are cut back to keep T in all."""

    def __len__(self) -> int:
        return self.num_items * self.num_epochs

    def __getitem__(self, item: int) -> NDArray[np.int32]:
        """Return the token ids (T,) of an item, 0…len - 1."""
        place = (self.first + item % self.num_items) % len(self.sequences)
        sequence = self.sequences[place if self.order is None else self.order[place]]
        prefix = self.prefixes.get(item)
        return sequence if prefix is None else prepend(prefix, sequence)


def prepend(prefix: Sequence[int], sequence: NDArray[np.int32]) -> NDArray[np.int32]:
    """Put a text's tokens before a sequence (T,) and cut back to T tokens."""
    return np.concatenate([np.asarray(prefix, dtype=np.int32), sequence])[: len(sequence)]


def read_corpus(
    path: Path, optimisation: Optimisation, *, vocab_size: int, corpus: str
) -> NDArray[np.int32]:
    """Read the packed sequences (num_sequences, T) of the corpus to train on.

    Raises:
        UserError: fewer sequences than the run consumes, or as ``read_sequences``.
    """
    tokens = read_sequences(path, vocab_size=vocab_size)
    if len(tokens) < optimisation.num_sequences:
        raise UserError(
            f"corpora.{corpus}.num_sequences: {path} has {len(tokens)} sequences, training needs"
            f" {optimisation.num_sequences} (num_steps × batch_size_sequences / num_epochs)"
        )
    return tokens


def micro_batch_size(optimisation: Optimisation, limit: int) -> int:
    """Return how many sequences a rank takes at a time: the largest divisor of its part, ≤ limit.

    Raises:
        UserError: the batch is no multiple of the number of ranks.
    """
    batch, num_ranks = optimisation.batch_size_sequences, ranks.num_ranks()
    if batch % num_ranks:
        raise UserError(
            f"batch_size_sequences: {batch} sequences cannot be shared equally by {num_ranks}"
            " GPUs: make it a multiple of their number, or change num_gpus in cluster.jobs"
        )
    part = batch // num_ranks
    return max(size for size in range(1, part + 1) if part % size == 0 and size <= limit)
