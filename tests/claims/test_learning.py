"""Claims about where learning ends at the stages of pretraining."""

from __future__ import annotations

import pytest

from ke_steps.claims.learning import mid_stage_ends_best, once_knowledge_is_lost
from ke_steps.summary.quantities import ACQUISITION
from tests.invented.claims import RECIPE, finding_of, stages

BEST = (mid_stage_ends_best, "performance_after_best_at_mid_stage")


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        ([-5.5, -5.2, -5.0, -5.2, -5.5], "supported"),
        ([-5.0, -5.2, -5.3, -5.4, -5.5], "not supported"),
        ([-5.01, -5.2, -5.0, -5.2, -5.5], "inconclusive"),
        ([-5.5, -5.0, -5.5], "not tested"),
    ],
)
def test_the_best_stage_in_the_middle(course, expected):
    finding = finding_of(stages(course), *BEST)
    assert finding.verdict == expected
    assert finding.chosen_after_looking == (expected != "not tested")


def test_a_choice_among_many_stages_costs():
    few = finding_of(stages([-5.2, -5.0, -5.2, -5.2], noise=0.1), *BEST)
    many = finding_of(stages([-5.2, -5.0, *[-5.4] * 8, -5.2, -5.2], noise=0.1), *BEST)
    assert few.num_points == 4
    assert "the best of 10 stages" in many.evidence


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((-0.2, -0.21, -0.19), "supported"),
        ((0.2, 0.21, 0.19), "not supported"),
        ((-0.1, 0.1, 0.02), "inconclusive"),
        ((), "not tested"),
    ],
)
def test_what_was_seen_once(values, expected):
    found = stages([-5.0, -5.1, -5.2, -5.3])
    for step in (300, 400):
        for seed, value in enumerate(values):
            told = value if step == 400 else -value
            found.value(ACQUISITION.of("once/all"), told, step, recipe=RECIPE, seed=seed)
    assert finding_of(found, once_knowledge_is_lost).verdict == expected
