"""The first screen of the report: what a study found, its key numbers, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from ke_steps.claims.findings import BEYOND, PAPER, PREDICTION
from ke_steps.report.headlines import counted, headlines
from ke_steps.report.key_cells import Curve, cell_of, curve_of, label_of, shown_rows, spread_out
from ke_steps.report.key_table import key_table
from ke_steps.report.overview import Caution, Counts, Overview, Scope
from ke_steps.report.short_forms import correction, note_of, scope_of, tallies
from ke_steps.report.tables import Results
from ke_steps.report.verdicts import merged
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.telling import Summarize, WriteReportJob

MAX_STAGES = 7
"""Columns of the key table; the curves have all stages."""


class Line(NamedTuple):
    """A row of the key table."""

    label: str
    curve: Curve | None
    cells: list[str]


class Screen(NamedTuple):
    """What the template shows beside the overview itself."""

    scope: str
    tallies: list[tuple[str, Counts]]
    correction: str
    note: str
    heads: list[str]
    lines: list[Line]
    num_stages: int


def families_of_study(study: Mapping[str, Any]) -> dict[str, str]:
    """Return the family of each model that has one, of a study as the report receives it."""
    families = {name: model.get("family") for name, model in study["models"].items()}
    return {name: family for name, family in families.items() if family}


def overview_of(
    results: Results,
    *,
    claims: pd.DataFrame,
    warnings: pd.DataFrame,
    downstream: pd.DataFrame,
    runs: pd.DataFrame,
    settings: WriteReportJob,
) -> Overview:
    """Return a study on a page, from its tables."""
    telling = Summarize.model_validate(settings.study["summarize"])
    families = families_of_study(settings.study)
    verdicts = {
        origin: counted(claims.loc[claims["origin"] == origin, "verdict"])
        for origin in (PAPER, BEYOND, PREDICTION)
    }
    return Overview(
        title=settings.title,
        description=settings.description,
        confidence=telling.confidence,
        findings=list(headlines(claims, results.estimates, downstream, families)),
        scope=_scope(results.summary, runs),
        key_table=key_table(results.estimates, families, telling),
        verdicts={origin: counts for origin, counts in verdicts.items() if counts},
        num_corrected=int(claims["adjusted_p_value"].notna().sum()),
        warnings=[
            Caution(subject=subject, models=models, warning=warning)
            for subject, models, warning in merged(warnings)
        ],
    )


def _scope(summary: pd.DataFrame, runs: pd.DataFrame) -> Scope:
    originals = summary[summary["variant"] == ORIGINAL]
    stages = originals.groupby("model", sort=False)["step"].nunique()
    return Scope(
        models=list(stages.index),
        num_stages=stages.to_dict(),
        num_variants=int(summary.loc[summary["variant"] != ORIGINAL, "variant"].nunique()),
        num_recipes=int(summary["recipe"].nunique()),
        num_seeds=int(summary["seed"].nunique()),
        num_runs=len(runs),
        num_diverged=int(runs["diverged_at_step"].notna().sum()),
    )


def screen_of(overview: Overview) -> Screen:
    """Return an overview as the template shows it."""
    table = overview.key_table
    places = spread_out(table.steps, MAX_STAGES)
    return Screen(
        scope_of(overview),
        tallies(overview),
        correction(overview),
        note_of(overview),
        [f"{table.steps[place]:,}" for place in places],
        [
            Line(label_of(row, table), curve_of(row), [cell_of(row, row.points[p]) for p in places])
            for row in shown_rows(table)
        ],
        len(table.steps),
    )
