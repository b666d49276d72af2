"""The key table for a reader: labels, cells, small curves, and what its numbers rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ke_steps.report.overview import KeyRow, KeyTable, Point
from ke_steps.report.rounding import with_interval
from ke_steps.summary.digits import SHOWN_IN_PERCENT

CURVE = (84.0, 18.0)
"""Width and height of a small curve."""
MARGIN = 2.0
"""Of a small curve, on each side."""


class Curve(NamedTuple):
    """A row over the stages, evenly spaced: lines where it is known, and its last point."""

    lines: list[str]
    end: tuple[float, float]
    title: str


def label_of(row: KeyRow, table: KeyTable) -> str:
    """Return the name of a row, with its unit where that is not said by the name."""
    if row.unit in row.label:
        return row.label
    unit = "%" if row.unit in SHOWN_IN_PERCENT else row.unit
    bound = f" (≤ {table.bound_nats:.2f})" if row.label == "H" and table.bound_nats else ""
    return f"{row.label}, {unit}{bound}"


def shown_rows(table: KeyTable) -> list[KeyRow]:
    """Return the rows that say something: A* is A where nothing was changed before learning."""
    rows = {row.label: row for row in table.rows}
    if {"A", "A*"} <= rows.keys() and rows["A"].points == rows["A*"].points:
        rows["A"] = rows["A"].model_copy(update={"label": "A = A*"})
        del rows["A*"]
    return list(rows.values())


def cell_of(row: KeyRow, point: Point) -> str:
    """Write a point of a row."""
    value, low, high = (
        math.nan if number is None else number for number in (point.value, point.low, point.high)
    )
    return with_interval(value, low, high, row.unit)


def spread_out(steps: Sequence[int], most: int) -> list[int]:
    """Return the places of at most so many steps, evenly spaced, the last in them."""
    if len(steps) <= most:
        return list(range(len(steps)))
    if most == 1:
        return [len(steps) - 1]
    return [round(place * (len(steps) - 1) / (most - 1)) for place in range(most)]


def curve_of(row: KeyRow) -> Curve | None:
    """Return a row as a small curve; None with fewer than two points."""
    values = [point.value for point in row.points]
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    (width, height), least = CURVE, min(known)
    size = max(known) - least
    lines: list[list[str]] = [[]]
    end = (0.0, 0.0)
    for place, value in enumerate(values):
        if value is None:
            lines.append([])
            continue
        share = (value - least) / size if size else 0.5
        end = (
            round(MARGIN + (width - 2 * MARGIN) * place / (len(values) - 1), 1),
            round(height - MARGIN - (height - 2 * MARGIN) * share, 1),
        )
        lines[-1].append(f"{end[0]:g},{end[1]:g}")
    cells = [cell_of(row, point).split(" ")[0] for point in row.points]
    title = f"{row.label} by stage: {', '.join(cells)}"
    return Curve([" ".join(line) for line in lines if line], end, title)


def subject_of(table: KeyTable) -> str:
    """Say of what the key table is."""
    words = f"Of {table.name}"
    if len(table.models) > 1:
        words = f"Mean of the {len(table.models)} models of {table.name}"
    if table.recipe:
        words += f", learning by {table.recipe}"
    if table.num_others:
        others = f"{table.num_others} other model{'s' * (table.num_others > 1)}"
        words += f"; {others}, and every stage, in the tables below"
    return words


def sampled(table: KeyTable) -> str:
    """Say once of how many passages, items and sequences the numbers are."""
    counts: dict[str, set[int]] = {}
    labels: dict[str, list[str]] = {}
    for row in table.rows:
        found = {point.num_items for point in row.points if point.num_items}
        if row.sampled and found:
            counts.setdefault(row.sampled, set()).update(found)
            labels.setdefault(row.sampled, []).append(row.label.split(" ")[0])
    return ", ".join(
        f"{range_of(found)} {units} ({', '.join(dict.fromkeys(labels[units]))})"
        for units, found in counts.items()
    )


def range_of(numbers: set[int]) -> str:
    """Return one number, or the least and the greatest of several."""
    least, most = min(numbers), max(numbers)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
