"""What a figure shows to change, in words: from the first stage of pretraining to the last.

A direction is told where the intervals of the two stages do not overlap, or where there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import Measure, difference_unit, number, show

FALLS, RISES, UNCLEAR = "falls", "rises", "does not move clearly"
WHERE_DRAWN = ("panel", "title", "series", "seeds")
"""Columns that do not matter for whether two rows tell of the same."""
NEEDED = ("recipe", "quantity", "group", "unit", "step", "is_trained", "value", "low", "high")


class Change(NamedTuple):
    """A quantity at two places: rows with value, low and high."""

    first: Mapping[Any, Any]
    last: Mapping[Any, Any]
    unit: str

    @property
    def difference(self) -> float:
        """Last less first."""
        return float(self.last["value"] - self.first["value"])

    @property
    def direction(self) -> str:
        """How it changes, as a verb."""
        overlaps = self.first["low"] <= self.last["high"] and self.last["low"] <= self.first["high"]
        if overlaps or not self.difference:
            return UNCLEAR
        return RISES if self.difference > 0 else FALLS

    def in_words(self) -> str:
        """Say from where to where."""
        start, end = number(self.first["value"], self.unit), show(self.last["value"], self.unit)
        within = self.direction == UNCLEAR
        return f"{self.direction}{',' if within else ''} from {start} to {end}"


def told_rows(data: pd.DataFrame, variant: str | None = ORIGINAL) -> pd.DataFrame:
    """Return the drawn rows that have a quantity, once each, without changes of it.

    ``whose`` is the family of a row, else its model. ``variant``: of this one alone; None: of all.
    """
    rows = data.reindex(columns=[*data, *(name for name in NEEDED if name not in data)])
    rows = rows.dropna(subset="quantity")
    if "change_since_step" in rows:
        rows = rows[rows["change_since_step"].isna()]
    if "variant" in rows and variant is not None:
        rows = rows[rows["variant"].fillna(ORIGINAL) == variant]
    rows = rows.drop(columns=[name for name in WHERE_DRAWN if name in rows])
    whose = rows.reindex(columns=["family", "model"]).astype(object)
    return rows.assign(whose=whose["family"].fillna(whose["model"])).drop_duplicates()


def of_measure(rows: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return the rows of a measure."""
    return rows[(rows["quantity"] == measure.quantity) & (rows["group"] == measure.group)]


def changes(rows: pd.DataFrame, by: list[str]) -> dict[str, Change]:
    """Return how each course changes over its trained stages, of which two are defined."""
    found = {}
    rows = rows[rows["is_trained"].astype(bool)].dropna(subset="value")
    for names, course in rows.groupby(by, sort=False, dropna=False):
        if course["step"].nunique() > 1:
            stages = course.sort_values("step").to_dict("records")
            name = ", ".join(str(each) for each in names)
            found[name] = Change(stages[0], stages[-1], stages[0]["unit"])
    return found


def told(name: str, found: Mapping[str, Change], nouns: str) -> str:
    """Say how something changes in one course, or in how many of several; nothing of none."""
    if not found:
        return ""
    if len(found) == 1:
        return f"{name} {next(iter(found.values())).in_words()}"
    parts = []
    for verb in (FALLS, RISES, UNCLEAR):
        alike = [change for change in found.values() if change.direction == verb]
        if alike:
            parts.append((f"{verb} in {len(alike)} of {len(found)} {nouns}", alike))
    unit = difference_unit(next(iter(found.values())).unit)
    if len(parts) == 1:
        ((words, alike),) = parts
        return f"{name} {words}, by {_range([abs(each.difference) for each in alike], unit)}"
    counts = [
        words if place == 0 else words.partition(" of ")[0]
        for place, (words, _) in enumerate(parts)
    ]
    span = _range([each.difference for each in found.values()], unit)
    return f"{name} {', '.join(counts)} (changes: {span})"


def counted(name: str, found: Mapping[str, Change]) -> str:
    """Say in how many of many comparisons something rises and falls; nothing of none."""
    up, down = (sum(each.direction == verb for each in found.values()) for verb in (RISES, FALLS))
    return f"{name} rises in {up} and falls in {down} of {len(found)}" if found else ""


def levels(name: str, rows: pd.DataFrame, nouns: str) -> str:
    """Say how large something is where there is one stage of it; nothing where there is none."""
    rows = rows.dropna(subset="value")
    if rows.empty:
        return ""
    several = f" in {len(rows)} {nouns}" if len(rows) > 1 else ""
    steps = ", ".join(f"{step:,.0f}" for step in sorted(rows["step"].unique()))
    return f"{name} is {_range(rows['value'], rows['unit'].iloc[0])}{several} at step {steps}"


def _range(values: Iterable[float], unit: str) -> str:
    ordered = sorted(values)
    low, high = number(ordered[0], unit), show(ordered[-1], unit)
    return high if high.startswith(f"{low} ") else f"{low} to {high}"


def joined(parts: Iterable[str], end: str = "") -> str:
    """Join what was told to one sentence without its stop; empty where nothing was."""
    words = [part for part in parts if part]
    text = (" and " if len(words) < 3 else "; ").join(words)
    return f"{text[:1].upper()}{text[1:]}{end}" if words else ""
