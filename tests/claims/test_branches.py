"""What a branch costs by itself, and what learning costs from there."""

from __future__ import annotations

import numpy as np
import pytest

from ke_steps.claims.branches import branch_costs_old_knowledge
from tests.invented.claims import Invented, answers, finding_of

BRANCH, FURTHER = "branch_costs_old_knowledge", "learning_costs_old_knowledge_beyond_the_branch"


def rewarmed(start: float, before: float, after: float, seeds: int = 3) -> Invented:
    made = Invented(model="warm", branches={"warm": "nursery"})
    for step, share in ((100, 0.9), (400, before)):
        made.accuracy(step, answers(share))
        made.accuracy(step, answers(start), model="nursery")
    values = np.linspace(-9, -8, 20)
    for seed in range(seeds):
        moved = answers(after + 0.01 * (seed - (seeds - 1) / 2))
        made.run(400, seed, (values, values + 2), moved)
    return made


@pytest.mark.parametrize(
    ("before", "after", "verdicts"),
    [
        (0.7, 0.5, ("supported", "supported")),
        (0.7, 0.7, ("supported", "inconclusive")),
        (0.8, 0.5, ("inconclusive", "supported")),
        (0.9, 0.95, ("not supported", "not supported")),
    ],
)
def test_what_is_lost_is_split_at_the_branch(before, after, verdicts) -> None:
    made = rewarmed(0.8, before, after)
    branch, further = (
        finding_of(made, branch_costs_old_knowledge, name) for name in (BRANCH, FURTHER)
    )
    assert (branch.verdict, further.verdict) == verdicts
    assert branch.estimate.value == pytest.approx(0.8 - before)
    assert further.estimate.value == pytest.approx(before - after)
    assert further.recipe == "baseline"


def test_it_is_told_in_points_of_the_last_stage() -> None:
    made = rewarmed(0.8, 0.7, 0.5)
    branch = finding_of(made, branch_costs_old_knowledge, BRANCH)
    assert branch.evidence.startswith(
        "P before learning at step 400 is 80.0 % of nursery and 70.0 % of the branch: a loss of"
        " 10.0 points (95 % interval "
    )
    further = finding_of(made, branch_costs_old_knowledge, FURTHER)
    assert further.evidence.startswith(
        "P falls from 80.0 % to 50.0 % at step 400: 10.0 points by the branch, and 20.0 points"
    )


def test_a_model_that_is_no_branch_has_none_and_one_that_learns_nothing_the_first() -> None:
    made = rewarmed(0.8, 0.7, 0.5, seeds=0)
    assert [each.claim for each in branch_costs_old_knowledge(made.measured())] == [BRANCH]
    made.settings.branches.clear()
    assert not list(branch_costs_old_knowledge(made.measured()))
