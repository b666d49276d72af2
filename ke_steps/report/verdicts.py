"""Claims and warnings as the report shows them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from ke_steps.claims.findings import BEYOND, PAPER, PREDICTION
from ke_steps.summary.quantities import number, show, show_p

ORIGINS = {
    PAPER: "the paper's",
    BEYOND: "beyond the paper",
    PREDICTION: "this study's prediction",
}


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
    return f"{show(value, unit)} [{number(low, unit)}, {number(high, unit)}]"


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


def warnings_of(warnings: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return model, subject and sentence of every warning; the model only where there are two."""
    is_one = warnings["model"].nunique() < 2
    return [{**row, "model": "" if is_one else row["model"]} for row in warnings.to_dict("records")]
