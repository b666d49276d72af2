"""What is said of a figure of this study: its title, its caption, and words for who cannot see it.

All of it comes from the rows that were drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from ke_steps.figures.curves import DIVERGED
from ke_steps.figures.definitions import definitions
from ke_steps.figures.drawn import Drawing, Marks
from ke_steps.figures.findings import FINDINGS
from ke_steps.settings.telling import FigureName
from ke_steps.summary.quantities import show

MAX_NAMED = 6
"""Of models in a caption."""
MAX_TOLD = 12
"""Of lines in the alternative text."""


class Words(NamedTuple):
    """What is said of a figure; ``caption`` comes after what figures of its kind show."""

    title: str
    caption: str
    alt: str


def words_of(name: FigureName, figure: Drawing, confidence: float) -> Words:
    """Return what is said of a figure; ``confidence`` is that of its intervals."""
    data = figure.data()
    title = FINDINGS[name](data) or name.replace("_", " ").capitalize()
    sentences = [*definitions(data), *figure.notes, *_sentences(data, confidence)]
    if any(mark.rows[mark.y].isna().any() for mark in figure.marks):
        sentences.append("A gap: it is not defined there.")
    caption = " ".join(sentences)
    marks = [mark for mark in figure.marks if "reference" not in mark.rows and len(mark.rows)]
    told = [_course(mark) for mark in marks[:MAX_TOLD]]
    if len(marks) > MAX_TOLD:
        told.append(f"{len(marks) - MAX_TOLD} more in the CSV")
    return Words(title, caption, f"{title}. {'; '.join(told)}.")


def _sentences(data: pd.DataFrame, confidence: float) -> Iterator[str]:
    yield from _scope(data)
    yield from _bars(data, confidence)
    yield from _dots(data)
    if "is_trained" in data and not data["is_trained"].dropna().all():
        yield "Titles leave out the untrained model, step 0."
    if "change_since_step" in data:
        yield "Changes take the value that they count from as exact."
    if "reference" in data:
        names = data["reference"].dropna().unique()
        yield f"Dotted: {'; '.join(names)}."
    if (data["series"] == DIVERGED).any():
        yield "Dotted, without marks: single runs that diverged, which are in no mean."


def _scope(data: pd.DataFrame) -> Iterator[str]:
    """Say of which models, and by which recipes."""
    for noun, nouns in (("model", "models"), ("family", "families"), ("recipe", "recipes")):
        if noun in data and len(names := data[noun].dropna().unique()):
            named = ", ".join(names[:MAX_NAMED])
            more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
            yield f"{(noun if len(names) == 1 else nouns).capitalize()}: {named}{more}."


def _bars(data: pd.DataFrame, confidence: float) -> Iterator[str]:
    """Say what the bars are: of which sample, how large, and over how many seeds."""
    if "low" not in data or data["low"].isna().all():
        return
    kinds = []
    if "interval_kind" in data:
        barred = data[data["low"].notna() & data["interval_kind"].fillna("").ne("")]
        for kind, rows in barred.groupby("interval_kind", sort=False):
            kinds.append(_sized(str(kind), rows))
    words = f": {'; '.join(kinds)}" if kinds else ""
    yield f"Bars are {100 * confidence:g} % intervals{words}."


def _sized(kind: str, rows: pd.DataFrame) -> str:
    """Write how many there were of what an interval is over: ``over 28 passages and 2 seeds``."""
    for start in ("bootstrap over ", "order statistics of ", "Student's t over "):
        if kind.startswith(start) and "num_items" in rows and rows["num_items"].notna().any():
            kind = f"{start}{_span(rows['num_items'])} {kind.removeprefix(start)}"
    for noun in ("seeds", "models"):
        if kind.endswith(noun):
            kind = f"{kind.removesuffix(noun)}{_span(rows[f'num_{noun}'])} {noun}"
    return kind


def _span(numbers: pd.Series) -> str:
    low, high = numbers.min(), numbers.max()
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def _dots(data: pd.DataFrame) -> Iterator[str]:
    seeds = data["seeds"].dropna() if "seeds" in data else pd.Series(dtype=str)
    counts = seeds.map(lambda text: len(str(text).split()))
    if counts.max() > 1:
        noun = "models" if "family" in data and data["family"].notna().any() else "seeds"
        yield f"Points are means over {_span(counts[counts > 1])} {noun}, thin dots the {noun}."


def _course(mark: Marks) -> str:
    """Say where a line begins and where it ends."""
    value, along = (mark.x, mark.y) if mark.y == "place" else (mark.y, mark.x)
    title = mark.axis.get_title(loc="left").replace("\n", ", ")
    place = ", ".join(filter(None, (title, mark.series)))
    rows = mark.rows.dropna(subset=value)
    if rows.empty:
        return f"{place}: not defined"
    unit = str(rows["unit"].iloc[0]) if "unit" in rows else ""
    ends = [rows.iloc[0], rows.iloc[-1]] if len(rows) > 1 else [rows.iloc[0]]
    told = [
        show(row[value], unit)
        + ("" if along == "place" else f" at {along.replace('_', ' ')} {row[along]:,g}")
        for row in ends
    ]
    return f"{place}: {' to '.join(told)}"
