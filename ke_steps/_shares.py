"""Who measures what: the batches of an extraction over shards (jobs) and ranks (processes).

The batches are the same however many share them, so that only the order of sums can differ: a
shard has whole groups of instances, each summed as one job would; ranks add their sums up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ke_steps import _ranks


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


def batches(num_instances: int, size: int, *boundaries: int) -> list[range]:
    """Return the batches, of up to ``size`` instances, none across a boundary."""
    found: list[range] = []
    first = 0
    while first < num_instances:
        last = min(first + size, num_instances, *(end for end in boundaries if end > first))
        found.append(range(first, last))
        first = last
    return found


def share(every_batch: Sequence[range], num_groups: int, shard: Shard = WHOLE) -> Share:
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
        len(of_shard) * number // _ranks.num_ranks()
        for number in (_ranks.rank(), _ranks.rank() + 1)
    )
    return list(of_shard[first:last])
