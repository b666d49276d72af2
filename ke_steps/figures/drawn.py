"""A figure that knows the numbers in it: every mark is drawn from rows of a table, and kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PLACE = ["panel", "title", "series"]
"""Where a row is drawn: the number of its panel from 1, what stands above it, and its label."""


class Marks(NamedTuple):
    """Points, a line or bars of one look: ``x`` and ``y`` name the columns that they show."""

    axis: Axes
    rows: pd.DataFrame
    x: str
    y: str
    series: str


class Drawing(Figure):
    """A figure with the rows that were drawn in it, in their order."""

    def __init__(self, width_inches: float, height_inches: float) -> None:
        super().__init__(figsize=(width_inches, height_inches))
        self.marks: list[Marks] = []
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        """Say in the caption what is not so in every figure of the name, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def data(self) -> pd.DataFrame:
        """Return every row that was drawn, unrounded, with its place; empty where none was."""
        frames = []
        for mark in self.marks:
            title = mark.axis.get_title(loc="left").replace("\n", ", ")
            place = (self.axes.index(mark.axis) + 1, title, mark.series)
            rows = mark.rows.drop(columns=PLACE, errors="ignore").reset_index(drop=True)
            names = pd.DataFrame([place] * len(rows), columns=PLACE)
            frames.append(pd.concat([names, rows], axis=1))
        if not frames:
            return pd.DataFrame(columns=PLACE)
        found = pd.concat([frame.dropna(axis=1, how="all") for frame in frames], ignore_index=True)
        if "seeds" in found:
            found["seeds"] = found["seeds"].map(_joined)
        return found


def keep(axis: Axes, rows: pd.DataFrame, x: str, y: str, series: object = "") -> None:
    """Keep what was drawn in a panel."""
    drawing = axis.get_figure(root=True)
    if not isinstance(drawing, Drawing):
        raise TypeError("a panel of a Drawing is needed")
    drawing.marks.append(Marks(axis, rows, x, y, str(series or "")))


def _joined(values: object) -> str:
    """Write the values that a point is the mean of; none where it is of none."""
    if not isinstance(values, (list, np.ndarray)):
        return ""
    return " ".join(repr(float(value)) for value in values)
