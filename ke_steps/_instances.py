"""The sequences that are measured, and which of their positions count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ke_steps import _ranks
from ke_steps._errors import UserError
from ke_steps._tokenizers import Tokenizer


@dataclass(frozen=True)
class Instances:
    """N right-padded token sequences, or a batch of them; all on the CPU.

    Right padding needs no attention mask: under causal attention no token sees what follows it.
    """

    input_ids: Tensor
    """(N, T) int64."""

    num_tokens: Tensor
    """(N,) tokens of each before its padding."""

    num_counted: Tensor
    """(N,) leading positions of each whose coefficients count."""

    divisors: Tensor
    """(N,) what sums over those positions are divided by."""

    group: Tensor
    """(N,) contiguous group of instances, for the bootstrap."""

    def __len__(self) -> int:
        return len(self.input_ids)

    def in_batches(
        self, batches: Sequence[range], description: str
    ) -> Iterator[tuple[range, Instances]]:
        """Yield the batches at these places, each with its place; the first rank shows progress."""
        with tqdm(
            total=sum(map(len, batches)),
            desc=description,
            unit="sequence",
            disable=not _ranks.is_first(),
        ) as progress:
            for place in batches:
                yield place, self._at(slice(place.start, place.stop))
                progress.update(len(place))

    def _at(self, rows: slice) -> Instances:
        return Instances(
            self.input_ids[rows],
            self.num_tokens[rows],
            self.num_counted[rows],
            self.divisors[rows],
            self.group[rows],
        )


def gather_instances(
    input_ids: NDArray[np.int32], num_tokens: NDArray[np.int64], *, padding: str, num_groups: int
) -> Instances:
    """Say what counts of sequences (N, T) with ``num_tokens`` (N,); ``num_groups`` divides N.

    ``padding: exclude`` takes means over the tokens; ``reference`` sums over all positions.
    """
    num_sequences, length = input_ids.shape
    lengths = torch.from_numpy(num_tokens)
    everything = torch.full_like(lengths, length)
    excluded = padding == "exclude"
    return Instances(
        input_ids=torch.from_numpy(input_ids.astype(np.int64)),
        num_tokens=lengths,
        num_counted=lengths if excluded else everything,
        divisors=lengths if excluded else torch.ones_like(lengths),
        group=torch.arange(num_sequences) // (num_sequences // num_groups),
    )


def count_tokens(input_ids: NDArray[np.int32], tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Return the number of tokens of each sequence (N,) before the pad tokens at its end.

    Raises:
        UserError: a sequence holds nothing but padding.
    """
    num_sequences, length = input_ids.shape
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        return np.full(num_sequences, length)
    is_token = input_ids != tokenizer.pad_token_id
    num_tokens = length - np.argmax(is_token[:, ::-1], axis=1)
    empty = np.flatnonzero(~is_token.any(axis=1))
    if len(empty):
        raise UserError(f"sequence {empty[0]} of the corpus holds nothing but padding")
    return num_tokens
