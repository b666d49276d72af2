"""Every figure: drawn alike twice, from the smallest study, and without what is missing."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ke_steps import plot_figures
from ke_steps.figures.comparisons import heights
from ke_steps.figures.layout import settle
from ke_steps.figures.panels import Tables
from tests.invented.figures import FIGURES, Drawn, plotted, read_tables, title
from tests.invented.study import SyntheticStudy


def test_what_is_missing_at_some_stages_is_left_out(tables: Tables) -> None:
    """The second recipe, the sweeps and the second model each lose something."""

    def poor(table: pd.DataFrame) -> pd.DataFrame:
        lost = (table["recipe"] == "c4") & (table["step"] != 400)
        lost |= (table["model"] == "pythia") & table["recipe"].notna() & (table["step"] == 400)
        lost |= (table["model"] == "pythia") & (table["variant"] == "boost_p50_q1")
        lost |= (table["model"] == "pythia") & table["quantity"].str.startswith("attention")
        return table[~lost]

    poorer = replace(tables, summary=poor(tables.summary), estimates=poor(tables.estimates))
    figures = {
        name: plot_figures.FIGURES[name](poorer)
        for name in (
            "learning_by_recipe",
            "learning_by_model",
            "resuscitation_by_boost",
            "attention_and_next_token_entropy",
            "variants",
        )
    }
    assert plotted(figures["learning_by_recipe"].axes[0])["c4"][0] == [400]
    assert plotted(figures["learning_by_model"].axes[0])["pythia"][0] == [0, 1]
    assert len(figures["resuscitation_by_boost"].axes) == 6
    assert title(figures["resuscitation_by_boost"].axes[0]).startswith("olmo, p = 50 %")
    panels = [title(axis) for axis in figures["attention_and_next_token_entropy"].axes]
    assert panels[2:] == ["pythia · attention entropy", "pythia · next-token entropy"]
    assert "boost_p50_q1" not in heights(poorer, "pythia")


def names_of(study: SyntheticStudy) -> Iterator[str]:
    """The figures that these invented studies have data for."""
    alone = {"resuscitation_by_boost", "resuscitation_by_quantile", "attention_temperature"}
    alone |= {"learning_by_recipe", "learning_by_model", "entropy_by_phase"}
    if not study.variants:
        alone |= {"variants", "resuscitation_by_stage"}
    if len(study.steps) == 1:
        alone |= {"ranking_changes"}
    if study.is_plain:
        alone |= {
            "entropy_by_corpus", "attention_and_next_token_entropy", "novelty_by_corpus",
            "retention_over_time", "update_map", "rivals_by_stage",
        }  # fmt: skip
    return (name for name in FIGURES if name not in alone)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"steps": (2000,), "seeds": (0,), "variants": {}, "num_layers": 2},
        {"steps": (0,), "seeds": (0,), "variants": {}, "num_layers": 1, "is_plain": True},
    ],
    ids=["one checkpoint", "untrained only"],
)
def test_the_smallest_studies_draw_without_a_warning(
    options: dict[str, typing.Any], tmp_path: Path
) -> None:
    study = SyntheticStudy(tmp_path, **options)
    tables = read_tables(study, study.build())
    for name in names_of(study):
        settle(plot_figures.FIGURES[name](tables))


def contents(figure: Figure) -> list[typing.Any]:
    """Everything that was drawn, in its order: titles, labels, lines and error bars."""
    found: list[typing.Any] = []
    for axis in figure.axes:
        found += [title(axis), axis.get_xlabel(), axis.get_ylabel(), axis.get_xscale()]
        found += [
            (line.get_label(), line.get_xydata().tolist(), to_hex(line.get_color()))
            for line in axis.lines
            if not str(line.get_label()).startswith("_")
        ]
        found += [line.get_xydata().tolist() for line in axis.lines]
        found += [
            [segment.tolist() for segment in bars.get_segments()]
            for bars in axis.collections
            if isinstance(bars, LineCollection)
        ]
    legends = [*figure.legends, *filter(None, (axis.get_legend() for axis in figure.axes))]
    return [*found, *(text.get_text() for legend in legends for text in legend.get_texts())]


def test_every_figure_is_drawn_alike_twice(drawn: Drawn) -> None:
    for name in FIGURES:
        first, second = contents(drawn[name]), contents(drawn.draw(name))
        assert len(first) > 5
        assert repr(first) == repr(second), name
