"""The sequences that are measured: which of their positions count, and who measures which.

An extraction is shared by shards (jobs) and ranks (processes). The batches are the same however
many share them, so that only the order of sums can differ: a shard has whole groups of instances,
each summed as one job would; ranks add their sums up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ke_steps.job.errors import UserError
from ke_steps.models import ranks
from ke_steps.texts.tokenizers import Tokenizer


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
            disable=not ranks.is_first(),
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


class Shard(NamedTuple):
    """One of the jobs that share an extraction."""

    number: int
    num_shards: int


WHOLE = Shard(0, 1)


class Share(NamedTuple):
    """What of N instances, in groups of equal size, this process measures."""

    batches: list[range]
    """Of this rank."""

    instances: slice
    """Of this shard, all its ranks together."""

    groups: slice
    """Likewise."""


def batch_places(num_instances: int, size: int, *boundaries: int) -> list[range]:
    """Return where batches of up to ``size`` instances lie, none across a boundary."""
    found: list[range] = []
    first = 0
    while first < num_instances:
        last = min(first + size, num_instances, *(end for end in boundaries if end > first))
        found.append(range(first, last))
        first = last
    return found


def own_share(every_batch: Sequence[range], num_groups: int, shard: Shard = WHOLE) -> Share:
    """Return this rank's share of a shard's batches; it can be empty."""
    total = every_batch[-1].stop
    group_size = total // num_groups
    # a shard ends where a batch and a group end, at its even part of the whole or just after
    ends = [0, *(batch.stop for batch in every_batch if batch.stop % group_size == 0)]
    first, last = (
        next(end for end in ends if end * shard.num_shards >= number * total)
        for number in (shard.number, shard.number + 1)
    )
    return Share(
        _of_rank([batch for batch in every_batch if first <= batch.start < last]),
        slice(first, last),
        slice(first // group_size, last // group_size),
    )


def _of_rank(of_shard: Sequence[range]) -> list[range]:
    first, last = (
        len(of_shard) * number // ranks.num_ranks() for number in (ranks.rank(), ranks.rank() + 1)
    )
    return list(of_shard[first:last])
