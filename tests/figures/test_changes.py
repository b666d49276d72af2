"""What changes, in words: directions by intervals, numbers by the tables."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from ke_steps.figures.changes import Change, changes, counted, joined, levels, told

NAN = math.nan


def change(first: float, last: float, half: float = 0.1, unit: str = "nats") -> Change:
    ends = ({"value": v, "low": v - half, "high": v + half} for v in (first, last))
    return Change(*ends, unit)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (change(10.9, 10.6), "falls from 10.900 to 10.600 nats"),
        (change(0.25, 0.75, unit="fraction"), "rises from 25.0 to 75.0 %"),
        (change(-5.0, -4.9), "does not move clearly, from −5.000 to −4.900 nats"),
        (change(1.0, 1.1, half=NAN), "rises from 1.000 to 1.100 nats"),
        (change(1.0, 1.0, half=NAN), "does not move clearly, from 1.000 to 1.000 nats"),
    ],
)
def test_a_direction_is_told_where_intervals_do_not_overlap(found: Change, words: str) -> None:
    assert found.in_words() == words


def test_several_courses_are_counted() -> None:
    down, further, up = change(3, 2), change(3, 1), change(1, 1.5)
    assert (
        told("H", {"a": down, "b": further}, "models")
        == "H falls in 2 of 2 models, by 1.000 to 2.000 nats"
    )
    assert (
        told("H", {"a": down, "b": further, "c": up}, "models")
        == "H falls in 2 of 3 models, rises in 1 (changes: −2.000 to 0.500 nats)"
    )
    assert told("H", {}, "models") == ""
    assert counted("H", {"a": down, "b": further, "c": up}) == "H rises in 1 and falls in 2 of 3"
    assert joined(["H falls", "", "A rises"], " here") == "H falls and A rises here"
    assert joined(["", ""], " here") == ""


def test_changes_leave_out_what_is_not_trained_or_not_defined() -> None:
    rows = pd.DataFrame(
        [
            ("m", 0, False, 9.0),
            ("m", 5, True, 4.0),
            ("m", 1, True, 3.0),
            ("m", 9, True, NAN),
            ("n", 1, True, 2.0),
        ],
        columns=["whose", "step", "is_trained", "value"],
    ).assign(low=NAN, high=NAN, unit="nats")
    found = changes(rows, ["whose"])
    assert list(found) == ["m"]
    assert found["m"].difference == 1


def test_one_stage_alone_has_a_level() -> None:
    rows = pd.DataFrame({"value": [0.25, 0.5, NAN], "step": 2000, "unit": "fraction"})
    assert levels("P", rows, "models") == "P is 25.0 to 50.0 % in 2 models at step 2,000"
    assert levels("P", rows.head(1), "models") == "P is 25.0 % at step 2,000"
    assert levels("P", rows.tail(1), "models") == ""
