"""Where a run's plateau ends and where it saturates, and what changes in between and after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from ke_steps.artefacts.summary_schemas import PHASES
from ke_steps.claims.phases import Phases, phase_rows, phases_of
from tests.invented.phases import RECALL, STEPS, Course, moved, pretrained


def phases(recall: Mapping[int, float]) -> Phases | None:
    return phases_of(pretrained("run", Course(recall)))


def rows(course: Course, **settings: Any) -> dict[str, dict[str, Any]]:
    found = list(phase_rows(pretrained("run", course, **settings)))
    assert all(set(row) == set(PHASES.names) for row in found)
    return {row["quantity"]: row for row in found}


def test_phases_are_told_by_recall() -> None:
    assert phases(RECALL) == Phases(16, 50, 500, 6000, "")


def test_the_untrained_model_is_no_stage() -> None:
    assert phases({0: 0.25, **RECALL}) == Phases(16, 50, 500, 6000, "")


def test_saturation_is_a_share_of_the_last_recall_as_it_is() -> None:
    """0.57 is 95 % of 0.6; above chance it would be 91 %."""
    found = phases({1: 0.25, 2: 0.56, 3: 0.57, 4: 0.58, 5: 0.6})
    assert found == Phases(1, 1, 3, 5, "")


def test_a_run_that_knows_all_from_the_first_on_has_nothing_before() -> None:
    known = dict.fromkeys(STEPS, 0.9)
    found = phases(known)
    assert found == Phases(16, 16, 16, 6000, "")
    assert found.before is None
    row = rows(Course(known))["entropy_nats"]
    assert math.isnan(row["change_before"])
    assert row["change_after"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("recall", "why"),
    [
        (dict.fromkeys(STEPS, 0.26), "cannot be told from chance"),
        (dict(zip(STEPS, (0.25, 0.3, 0.4, 0.5, 0.6, 0.9), strict=True)), "only there"),
    ],
)
def test_a_run_without_saturation_is_told_with_the_reason(
    recall: dict[int, float], why: str
) -> None:
    row = rows(Course(recall))["entropy_nats"]
    assert why in row["unsaturated"]
    assert (row["plateau_step"], row["saturation_step"]) == (None, None)
    assert (row["first"], row["last"]) == pytest.approx((10, 10))
    assert all(math.isnan(row[key]) for key in ("saturation", "change_before", "change_after"))


def test_too_few_checkpoints_have_no_phases() -> None:
    few = {step: RECALL[step] for step in STEPS[-3:]}
    assert phases(few) is None
    assert rows(Course(few)) == {}


def test_changes_are_those_that_were_made_up() -> None:
    course = Course(
        RECALL,
        moved(10.0, 0.4, -0.7),
        moved(9.0, 0.2, -0.5),
        {500: (-6.0, 0.85), 6000: (-6.5, 0.55)},
    )
    found = rows(course, families={"run": "arm"})
    entropy, contribution = found["entropy_nats"], found["contribution_entropy_nats"]
    assert entropy["family"] == "arm"
    steps = ("first_step", "plateau_step", "saturation_step", "highest_step", "last_step")
    assert [entropy[step] for step in steps] == [16, 50, 500, 500, 6000]
    values = ("first", "plateau", "saturation", "highest", "last")
    assert [entropy[name] for name in values] == pytest.approx([10.3, 10, 10.4, 10.4, 9.7])
    assert [entropy[f"change_{when}"] for when in ("before", "after")] == pytest.approx([0.4, -0.7])
    assert [contribution[f"change_{when}"] for when in ("before", "after")] == pytest.approx(
        [0.2, -0.5]
    )
    assert entropy["change_after_low"] < -0.7 < entropy["change_after_high"]
    assert entropy["change_after_high"] - entropy["change_after_low"] < 0.01  # paired on the text
    assert found["dormant_fraction"]["change_after"] == pytest.approx(0.2)
    assert math.isnan(found["dormant_fraction"]["change_after_low"])
    knowledge, lost = found["performance_after"], found["forgetting_above_chance"]
    assert knowledge["recipe"] == "baseline"
    assert knowledge["change_after"] == pytest.approx(-0.5)
    before, after = (0.96 - 0.85) / (0.96 - 0.25), (1.0 - 0.55) / (1.0 - 0.25)
    assert lost["change_after"] == pytest.approx(after - before)


def test_learning_that_did_not_run_at_saturation_is_not_compared() -> None:
    found = rows(Course(learned={1500: (-6.0, 0.8), 6000: (-6.5, 0.5)}))["performance_after"]
    assert found["last"] == pytest.approx(-6.5)
    assert all(math.isnan(found[key]) for key in ("saturation", "change_after"))
