"""Claims and warnings as the report shows them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from ke_steps.claims.findings import BEYOND, PAPER, PREDICTION
from ke_steps.summary.digits import decimals_of
from ke_steps.summary.quantities import number, show, show_p

ORIGINS = {
    PAPER: "the paper's",
    BEYOND: "beyond the paper",
    PREDICTION: "this study's prediction",
}
MOST_OPEN = 12
"""Warnings that are read at once; more are folded by subject."""


class Mark(NamedTuple):
    """Something to know of a verdict; ``is_caution``: a reason to doubt it."""

    words: str
    is_caution: bool = False


def findings_of(claims: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the rows of CLAIMS for the template, each with its ``effect`` and ``marks`` in words.

    A value that a claim lacks is None.
    """
    rows = claims.astype(object).where(claims.notna(), None).to_dict("records")
    return [row | {"effect": _effect(row), "marks": _marks(row)} for row in rows]


def _effect(claim: dict[Any, Any]) -> str:
    """Write the size of the effect with its interval; empty where nothing was estimated."""
    value, low, high, unit = (claim[key] for key in ("value", "low", "high", "unit"))
    if value is None:
        return ""
    if low is None:
        return show(value, unit)
    decimals = decimals_of([(low, high)], unit)
    ends = ", ".join(number(end, unit, decimals) for end in (low, high))
    return f"{show(value, unit, decimals)} [{ends}]"


def _marks(claim: dict[Any, Any]) -> list[Mark]:
    """Return what a reader must know of a verdict before believing it."""
    marks = []
    if claim["origin"] is not None:
        marks.append(Mark(ORIGINS[claim["origin"]]))
    if claim["is_primary"] is not None:
        marks.append(Mark("primary" if claim["is_primary"] else "secondary"))
    if claim["adjusted_p_value"] is not None:
        marks.append(Mark(f"adjusted {show_p(claim['adjusted_p_value'])}"))
    if claim["chosen_after_looking"]:
        marks.append(Mark("chosen after looking", is_caution=True))
    if claim["decided_by_step"] is not None:
        marks.append(Mark(f"hangs on step {claim['decided_by_step']:,.0f}", is_caution=True))
    return marks


class WarningsOnSubject(NamedTuple):
    """Sentences on one subject, each with the models that it is told of."""

    subject: str
    lines: list[tuple[str, str]]
    is_folded: bool


def warnings_of(warnings: pd.DataFrame) -> list[WarningsOnSubject]:
    """Return the warnings by subject, folded where there are many."""
    told = merged(warnings)
    lines: dict[str, list[tuple[str, str]]] = {}
    for subject, models, warning in told:
        lines.setdefault(subject, []).append((models, warning))
    is_many = len(told) > MOST_OPEN
    return [WarningsOnSubject(subject, own, is_many) for subject, own in lines.items()]


def merged(warnings: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return subject, models and sentence of each warning.

    What is told of several models alike is one sentence; of a study's only model no name is told.
    """
    is_one = warnings["model"].nunique() < 2
    alike = warnings.groupby(["subject", "warning"], sort=False)["model"].agg(", ".join)
    return [
        (row["subject"], "" if is_one else row["model"], row["warning"])
        for row in alike.reset_index().to_dict("records")
    ]
