"""Figures of the synthetic study: what their job is told, and what they are drawn from."""

from __future__ import annotations

import typing
from pathlib import Path

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import (
    CORRELATIONS,
    CURVES,
    DISTRIBUTIONS,
    NOVELTY_QUANTILES,
    RANKINGS,
    RETAINED_CURVES,
    SUMMARY,
)
from ke_steps.figures.panels import Tables
from ke_steps.settings.telling import FigureName, PlotFiguresJob
from tests.invented.study import CORPUS, SyntheticStudy

FIGURES = typing.get_args(FigureName)

INPUTS = {
    "summary": SUMMARY,
    "correlations": CORRELATIONS,
    "curves": CURVES,
    "distributions": DISTRIBUTIONS,
    "rankings": RANKINGS,
    "novelty": NOVELTY_QUANTILES,
    "retained": RETAINED_CURVES,
}


def entry(name: str) -> dict[str, typing.Any]:
    """The config of a variant, from its name."""
    if name.startswith("temperature"):
        return {"kind": "temper_attention", "temperature": float(name[len("temperature") :])}
    quantile, boost = name.removeprefix("boost_p").split("_q")
    return {"kind": "resuscitate", "quantile": int(quantile) / 100, "boost": float(boost)}


def job(study: SyntheticStudy, figures: typing.Sequence[str]) -> PlotFiguresJob:
    return PlotFiguresJob.model_validate(
        {
            "figures": list(figures),
            "corpus": CORPUS,
            "variants": {name: entry(name) for name in study.variants},
            "recipes": list(study.recipes),
        }
    )


def read(study: SyntheticStudy, paths: dict[str, Path]) -> Tables:
    settings = job(study, FIGURES)
    frames = {name: read_frame(paths[name], schema) for name, schema in INPUTS.items()}
    return Tables(
        **frames,
        diverged_curves=frames["curves"].head(0),
        corpus=settings.corpus,
        variants=settings.variants,
        recipes=settings.recipes,
    )
