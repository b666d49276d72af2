"""How many sequences are measured, in which groups."""

import pytest

from ke_steps.public.sampling import choose_num_groups


@pytest.mark.parametrize(
    ("num_sequences", "groups", "left_out"),
    [(2, 2, 0), (15, 15, 0), (16, 16, 0), (31, 31, 0), (64, 32, 0), (63, 21, 0), (37, 18, 1)],
)
def test_groups_leave_out_as_few_sequences_as_they_can(num_sequences, groups, left_out):
    assert choose_num_groups(num_sequences) == groups
    assert num_sequences % groups == left_out
