"""Figures of the synthetic study: their tables, their job, and how what was drawn is read."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes

from ke_steps import plot_figures
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import (
    BETWEEN_RUNS,
    CORRELATIONS,
    CURVES,
    DISTRIBUTIONS,
    EFFECTS,
    ESTIMATES,
    FAMILIES,
    FRONTIERS,
    NOVELTY_QUANTILES,
    PHASES,
    RANKINGS,
    RETAINED_CURVES,
    SUMMARY,
)
from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing
from ke_steps.figures.panels import Tables
from ke_steps.settings.telling import FigureName, PlotFiguresJob
from tests.invented.study import SyntheticStudy

FIGURES = typing.get_args(FigureName)

INPUTS = {
    "summary": SUMMARY,
    "estimates": ESTIMATES,
    "families": FAMILIES,
    "phases": PHASES,
    "frontiers": FRONTIERS,
    "effects": EFFECTS,
    "correlations": CORRELATIONS,
    "between_runs": BETWEEN_RUNS,
    "curves": CURVES,
    "distributions": DISTRIBUTIONS,
    "rankings": RANKINGS,
    "novelty": NOVELTY_QUANTILES,
    "retained": RETAINED_CURVES,
}

STEPS = (0, 400, 2000)

VARIANTS = {
    "boost_p50_q1": (2000,),
    "boost_p50_q2": (400, 2000),
    "boost_p25_q2": (2000,),
    "temperature1.5": (2000,),
    "temperature2": (2000,),
}

MAIN = "baseline"
"""The recipe that comes first."""

MODEL = {"group": "model", "variant": "original"}
"""Where the summary tells of a whole model as it was pretrained."""


def variant_entry(name: str) -> dict[str, typing.Any]:
    """The config of a variant, from its name."""
    if name.startswith("temperature"):
        return {"kind": "temper_attention", "temperature": float(name[len("temperature") :])}
    quantile, boost = name.removeprefix("boost_p").split("_q")
    return {"kind": "resuscitate", "quantile": int(quantile) / 100, "boost": float(boost)}


def drawing_job(study: SyntheticStudy, figures: typing.Sequence[str]) -> PlotFiguresJob:
    """What ``plot_figures`` is told of a study."""
    return PlotFiguresJob.model_validate(
        {
            "figures": list(figures),
            "confidence": 0.95,
            "main_corpora": study.main_corpora,
            "variants": {name: variant_entry(name) for name in study.variants},
            "recipes": list(study.recipes),
        }
    )


def read_tables(study: SyntheticStudy, paths: dict[str, Path]) -> Tables:
    """The tables of a study in which no run diverged."""
    settings = drawing_job(study, FIGURES)
    frames = {name: read_frame(paths[name], schema) for name, schema in INPUTS.items()}
    return Tables(
        **frames,
        diverged_curves=frames["curves"].head(0),
        confidence=settings.confidence,
        main_corpora=settings.main_corpora,
        variants=settings.variants,
        recipes=settings.recipes,
    )


def plotted(axis: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """The labelled lines of a panel, and its only line where none has a label."""
    lines = {str(line.get_label()): line for line in axis.lines}
    named = {name: line for name, line in lines.items() if not name.startswith("_")}
    own = [line for line in axis.lines if len(line.get_xdata()) and line.get_linestyle() == "-"]
    return {
        name: (list(line.get_xdata()), list(line.get_ydata()))
        for name, line in (named or {"": own[0]}).items()
    }


def means(table: pd.DataFrame, x: str, y: str, **where: typing.Any) -> dict[float, float]:
    """Mean of ``y`` over seeds by ``x``, of the rows where columns have these values."""
    for column, value in where.items():
        chosen = table[column].isna() if value is None else table[column] == value
        table = table[chosen]
    return table.groupby(x)[y].mean().to_dict()


def check_line(axis: Axes, label: str, expected: dict[float, float]) -> None:
    """Check that a labelled line of a panel goes through these points and no others."""
    x, y = plotted(axis)[label]
    assert len(expected) > 0
    assert x == pytest.approx(list(expected))
    assert y == pytest.approx(list(expected.values()))


def title(axis: Axes) -> str:
    return axis.get_title(loc="left")


class ByStage(typing.NamedTuple):
    """A line that a figure draws over the stages of the model olmo, and where it is told."""

    figure: str
    panel: int
    label: str
    quantity: str
    group: str = "model"
    recipe: str | None = None
    variant: str = "original"


def check_stages(drawn: Mapping[str, Drawing], tables: Tables, line: ByStage) -> None:
    """Check that a line over stages is the mean over seeds that the summary holds."""
    where = line._asdict()
    for key in ("figure", "panel", "label"):
        del where[key]
    expected = means(tables.summary, "step", "value", model="olmo", **where)
    check_line(drawn[line.figure].axes[line.panel], line.label, expected)


class Drawn(dict[str, Drawing]):
    """The figures of a study by name, each drawn when it is first asked for."""

    def __init__(self, tables: Tables, others: Mapping[str, Tables]) -> None:
        super().__init__()
        self.tables, self.others = tables, others

    def __missing__(self, name: str) -> Drawing:
        self[name] = self.draw(name)
        return self[name]

    def draw(self, name: str, width_inches: float = style.WIDE_INCHES) -> Drawing:
        """Draw a figure anew, of several models only where they are what is compared."""
        style.use_style(width_inches)
        return plot_figures.FIGURES[name](self.others.get(name, self.tables))


def figure_outputs(folder: Path, figures: Sequence[str]) -> dict[str, Any]:
    """Return where plot_figures puts what goes with its figures."""
    return {
        "output_narrow": [folder / f"narrow/{figure}.png" for figure in figures],
        "output_data": [folder / f"{figure}.csv" for figure in figures],
        "output_words": folder / "words.json",
    }
