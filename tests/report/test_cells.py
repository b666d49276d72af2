"""Cells of tables: digits are those of their column, and numbers are known as such."""

from __future__ import annotations

import math

from ke_steps.report.cells import MISSING, Cell, Number, estimated, lay_out


def test_a_column_has_one_number_of_digits_whatever_its_rows() -> None:
    rows = [
        {
            "K": Number(-5.65812, "nats", -5.759, -5.563),
            "A": Number(0.0471, "fraction", 0.02, 0.07),
        },
        {"K": Number(-6.3, "nats", -6.3, -6.3), "A": Number(0.2, "fraction", 0.0, 0.4)},
        {"K": Number(-7.0, "nats"), "A": Number(0.0, "fraction", 0.0, 0.5)},
    ]
    columns, shown = lay_out(rows)
    assert columns == ["K", "A"]
    assert [row[0] for row in shown] == [
        "−5.658\n[−5.759, −5.563]",
        "−6.300\n[−6.300, −6.300]",
        "−7.000",
    ]
    assert [row[1] for row in shown] == ["5\n[2, 7]", "20\n[0, 40]", "0\n[0, 50]"]


def test_rows_of_several_measures_share_the_digits_of_what_is_alike() -> None:
    rows = [
        {"step 1": Number(0.5, "fraction", 0.49, 0.51, alike="A")},
        {"step 1": Number(-3.0, "nats", -3.001, -2.999, alike="K")},
        {"step 1": Number(0.1, "fraction", is_change=True, alike="A")},
    ]
    assert [row[0].partition("\n")[0] for row in lay_out(rows).rows] == ["50.0", "−3.0000", "+10.0"]


def test_numbers_sort_as_numbers_and_what_is_missing_has_none() -> None:
    entries = [1000, Number(0.02, "fraction"), Cell("< 0.001", 0.0004), MISSING, "diverged"]
    entries += [Number(math.nan, "nats", 1.0, 2.0)]
    found = [row[0] for row in lay_out([{"x": entry} for entry in entries]).rows]
    assert found == ["1,000", "2.0", "< 0.001", MISSING, "diverged", MISSING]
    numbers = [cell.number for cell in found if isinstance(cell, Cell)]
    assert numbers[:3] == [1000, 0.02, 0.0004]
    assert len(numbers) == 6
    assert all(math.isnan(each) for each in numbers[3:])
    words = [row[0] for row in lay_out([{"x": "a"}, {"x": MISSING}]).rows]
    assert not any(isinstance(word, Cell) for word in words)


def test_a_point_is_told_with_its_own_interval() -> None:
    point = {"value": 1.0, "low": 0.5, "high": 2.0}
    point |= {"change": -0.2, "change_low": -0.3, "change_high": 0.0}
    assert estimated("nats", point) == Number(1.0, "nats", 0.5, 2.0)
    change = estimated("points", point, "change", is_change=True)
    assert change == Number(-0.2, "points", -0.3, 0.0, is_change=True)
    assert estimated("nats", None) == MISSING


def test_a_last_line_and_a_sign() -> None:
    told = Number(0.05, "points", -0.01, 0.11, is_change=True, more="1 of 2")
    ((cell,),) = lay_out([{"x": told}]).rows
    assert cell == "+5.0\n[−1.0, 11.0]\n1 of 2"
