"""Shards and ranks have whole batches and whole groups."""

import math

import pytest

from ke_steps.measuring.instances import Shard, batch_places, own_share
from ke_steps.models import ranks


@pytest.mark.parametrize("num_shards", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [1, 3, 8, 100])
@pytest.mark.parametrize("boundaries", [(), (16, 24), (4,)])
def test_shards_have_whole_batches_and_whole_groups(num_shards, size, boundaries):
    every = batch_places(64, size, *boundaries)
    assert [place for batch in every for place in batch] == list(range(64))
    shares = [own_share(every, 8, Shard(n, num_shards)) for n in range(num_shards)]
    assert [batch for share in shares for batch in share.batches] == every
    end = 0
    for share in shares:
        assert share.instances.start == end
        end = share.instances.stop
        assert (share.groups.start * 8, share.groups.stop * 8) == (share.instances.start, end)
        assert sum(map(len, share.batches)) == end - share.instances.start
    assert end == 64
    if math.gcd(size, 64 // num_shards) == size and not any(each % size for each in boundaries):
        assert {share.instances.stop - share.instances.start for share in shares} == {
            64 // num_shards
        }


@pytest.mark.parametrize("num_ranks", [2, 3, 7])
def test_ranks_have_runs_of_batches_or_nothing(monkeypatch, num_ranks):
    monkeypatch.setattr(ranks, "num_ranks", lambda: num_ranks)
    every = batch_places(64, 13)
    shares = []
    for rank in range(num_ranks):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares.append(own_share(every, 8))
    assert [batch for share in shares for batch in share.batches] == every
    assert all(share.groups == slice(0, 8) for share in shares)
    numbers = [len(share.batches) for share in shares]
    assert max(numbers) - min(numbers) <= 1
