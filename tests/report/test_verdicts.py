"""Claims in the report: the effect beside the badge, and what to know before believing it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from ke_steps.artefacts.summary_schemas import CLAIMS, WARNINGS
from ke_steps.report.verdicts import findings_of, warnings_of


def told(**claim: Any) -> dict[Any, Any]:
    (row,) = findings_of(pd.DataFrame([claim], columns=CLAIMS.names))
    return row


def words(**claim: Any) -> list[str]:
    return [mark.words for mark in told(**claim)["marks"]]


def test_the_effect_has_its_unit_and_interval() -> None:
    assert told(value=0.1234, low=0.05, high=0.2, unit="fraction")["effect"] == "12.3 % [5.0, 20.0]"
    assert told(value=-0.25, low=-0.5, high=0, unit="nats")["effect"] == (
        "−0.25 nats [−0.50, 0.00]"
    )
    assert told(value=0.5, low=math.nan, high=math.nan, unit="nats")["effect"] == "0.500 nats"
    assert told(value=math.nan, unit="nats")["effect"] == ""


def test_marks_say_whose_claim_it_is_and_what_is_doubtful() -> None:
    assert words() == []
    assert words(origin="paper", is_primary=True) == ["the paper's", "primary"]
    doubtful = told(
        origin="beyond",
        is_primary=False,
        adjusted_p_value=0.0312,
        chosen_after_looking=True,
        decided_by_step=12000,
    )["marks"]
    assert [mark.words for mark in doubtful] == [
        "beyond the paper",
        "secondary",
        "adjusted p = 0.031",
        "chosen after looking",
        "hangs on step 12,000",
    ]
    assert [mark.is_caution for mark in doubtful] == [False, False, False, True, True]
    assert words(chosen_after_looking=False) == []


def test_warnings_name_the_model_where_there_are_several() -> None:
    rows = [("a", "seeds", "Few."), ("a", "P", "Near chance.")]
    one = pd.DataFrame(rows, columns=WARNINGS.names)
    assert warnings_of(one) == [
        ("seeds", [("", "Few.")], False),
        ("P", [("", "Near chance.")], False),
    ]
    two = pd.DataFrame([*rows, ("b", "P", "Near chance.")], columns=WARNINGS.names)
    assert warnings_of(two) == [
        ("seeds", [("a", "Few.")], False),
        ("P", [("a, b", "Near chance.")], False),
    ]


@pytest.mark.parametrize(("number", "is_folded"), [(12, False), (13, True)])
def test_many_warnings_are_folded_by_subject(number: int, is_folded: bool) -> None:
    rows = [
        ("a", "seeds", "Few."),
        *(("a", "P", f"Near chance at {n}.") for n in range(number - 1)),
    ]
    seeds, recall = warnings_of(pd.DataFrame(rows, columns=WARNINGS.names))
    assert (seeds.subject, recall.subject) == ("seeds", "P")
    assert len(recall.lines) == number - 1
    assert seeds.is_folded == recall.is_folded == is_folded
