"""Shards that cannot be even are refused."""

import pytest
from pydantic import ValidationError

from ke_steps.settings.measures import ExtractShardJob
from tests.invented.extraction import job


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_shards": 3}, "num_shards 3 must divide num_groups 4"),
        (
            {"num_shards": 2, "batch_size_sequences": 3},
            r"batch_size_sequences 3 must divide the 4 sequences of a shard \(num_sequences 8 /",
        ),
    ],
)
def test_shards_that_cannot_be_even_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        job(**changes)


def test_a_shard_beyond_the_last_is_refused():
    with pytest.raises(ValidationError, match="shard 2 is not below num_shards 2"):
        ExtractShardJob(**job(batch_size_sequences=2, num_shards=2).model_dump(), shard=2)
