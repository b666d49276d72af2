"""What stands in a table: words, counts, and numbers with the digits that their intervals support.

Digits are chosen for a column as a whole: numbers that are read one below the other have as many.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from ke_steps.summary.digits import decimals_of
from ke_steps.summary.quantities import number

MISSING = "–"
"""Instead of a number where there is none."""


class Cell(str):
    """A number as it is shown, and ``number``, by which it sorts: NaN where there is none."""

    number: float

    def __new__(cls, text: str, number: float) -> Cell:
        """Return the text, with the number that it tells."""
        cell = super().__new__(cls, text)
        cell.number = number
        return cell


class Number(NamedTuple):
    """A number of a table, whose digits are not chosen yet; fractions are shown in percent."""

    value: float
    """NaN is shown as a dash."""
    unit: str = ""
    low: float = math.nan
    """NaN where there is no interval, likewise ``high``; else it is the second line of the cell."""
    high: float = math.nan
    is_change: bool = False
    """Whether a plus is shown."""
    alike: str = ""
    """Whose digits it shares: all numbers that name the same; empty: those of its column."""
    more: str = ""
    """A last line."""


Entry = str | int | Number
"""What a table is made of: words (or a finished ``Cell``), a count or a step, a number."""


class Laid(NamedTuple):
    """A table's columns and rows of texts, those that tell a number being a ``Cell``."""

    columns: list[str]
    rows: list[list[str]]


def estimated(
    unit: str, point: Mapping[Any, Any] | None, name: str = "value", *, is_change: bool = False
) -> Entry:
    """Return one value of a table's row with its interval; a dash where there is no row.

    Args:
        unit: of the value and of the ends.
        point: holds the value as ``name``; the ends as ``low`` and ``high`` where that is
            ``value``, otherwise as ``name`` with ``_low`` and ``_high``.
        name: of the value.
        is_change: whether a plus is shown.
    """
    if point is None:
        return MISSING
    stem = "" if name == "value" else f"{name}_"
    return Number(point[name], unit, point[f"{stem}low"], point[f"{stem}high"], is_change)


def lay_out(rows: Sequence[Mapping[str, Entry]]) -> Laid:
    """Return rows, whose keys are equal, as texts."""
    columns = list(rows[0]) if rows else []
    told = {name for row in rows for name, entry in row.items() if _is_number(entry)}
    digits = _digits(rows)
    return Laid(
        columns,
        [[_text(row[name], name, digits, name in told) for name in columns] for row in rows],
    )


def _is_number(entry: Entry) -> bool:
    return isinstance(entry, Cell | int | Number)


def _digits(rows: Sequence[Mapping[str, Entry]]) -> dict[Hashable, int | None]:
    """Return the decimals of all numbers that share them."""
    alike: dict[Hashable, list[Number]] = {}
    for row in rows:
        for name, entry in row.items():
            if isinstance(entry, Number) and not math.isnan(entry.value):
                alike.setdefault(entry.alike or name, []).append(entry)
    return {
        name: decimals_of([(each.low, each.high) for each in found], found[0].unit)
        for name, found in alike.items()
    }


def _text(entry: Entry, column: str, digits: Mapping[Hashable, int | None], is_told: bool) -> str:
    """Return an entry as it is shown; words among numbers are a missing number."""
    match entry:
        case Number() if math.isnan(entry.value):
            return Cell(MISSING, math.nan)
        case Number():
            return Cell(_written(entry, digits[entry.alike or column]), entry.value)
        case int():
            return Cell(f"{entry:,}", entry)
        case Cell():
            return entry
    return Cell(entry, math.nan) if is_told else entry


def _written(told: Number, decimals: int | None) -> str:
    sign = "+" if told.is_change and told.value >= 0 else ""
    lines = [sign + number(told.value, told.unit, decimals)]
    if not math.isnan(told.low):
        low, high = (number(end, told.unit, decimals) for end in (told.low, told.high))
        lines.append(f"[{low}, {high}]")
    return "\n".join([*lines, *filter(None, [told.more])])
