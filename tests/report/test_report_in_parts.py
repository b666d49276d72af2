"""A study that lacks a part is told without it: no empty table, nothing said about nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ke_steps import plot_figures
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import CLAIMS, CORRELATIONS, SUMMARY
from ke_steps.figures import style
from ke_steps.figures.layout import settle
from ke_steps.settings.telling import FigureName
from tests.invented.figures import read_tables
from tests.invented.report import STUDY, report, words_of
from tests.invented.study import SyntheticStudy

STEPS = (0, 100, 400, 800, 2000)
VARIANTS = {"boost_p50_q1": (2000,), "boost_p50_q2": (800, 2000), "temperature2": (2000,)}
OF_LEARNING: tuple[FigureName, ...] = (
    "acquisition_and_forgetting",
    "performance_by_stage",
    "variants",
    "resuscitation_by_boost",
    "resuscitation_by_stage",
    "attention_temperature",
    "learning_by_model",
    "learning_by_recipe",
    "entropy_and_learning",
)
REMEMBERED = ("forgetting", "accuracy", "bits_per_token")


def told(study: SyntheticStudy, paths: dict[str, Path]) -> str:
    recipes = dict.fromkeys(study.recipes, STUDY["recipes"]["baseline"])
    parts = STUDY | {"evaluate_retention": None, "recipes": recipes}
    told: dict[str, Any] = {"root": study.root, "tables": paths, "figures": []}
    return report(told, settings={"study": parts})


def tables_in(text: str) -> str:
    """Return the words of the report's tables and memories."""
    return words_of(text).rpartition("Provenance")[0].rpartition("Figures")[2]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[SyntheticStudy, dict[str, Path]]:
    """A study that measures only."""
    root = tmp_path_factory.mktemp("measured")
    study = SyntheticStudy(root, steps=STEPS, variants={}, recipes=(), asks_retention=False)
    return study, study.build()


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[SyntheticStudy, dict[str, Path]]:
    """A study that learns, and does not ask what was known."""
    root = tmp_path_factory.mktemp("learned")
    study = SyntheticStudy(
        root, steps=STEPS, variants=VARIANTS, recipes=("baseline", "c4"), asks_retention=False
    )
    return study, study.build()


def test_a_study_that_measures_only_has_claims_about_entropy(measured: Any) -> None:
    claims = read_frame(measured[1]["claims"], CLAIMS)
    decided = claims[claims["verdict"] != "not tested"]
    assert "entropy_falls" in set(decided["claim"])
    assert claims["recipe"].isna().all()


def test_its_report_says_nothing_of_learning(measured: Any) -> None:
    text = told(*measured)
    words = words_of(text)
    assert "Measured: nursery, 5 stages; n = " in words
    assert "H in nats. In brackets its interval, of sampling text, by bootstrap." in words
    assert not re.search(r"<tbody>\s*</tbody>", text)
    for absent in ("Correlations", "Every run", "Variants", "mean over seeds", "seed"):
        assert absent not in tables_in(text)


def test_what_was_known_is_not_told_where_it_was_not_asked(learned: Any) -> None:
    study, paths = learned
    summary = read_frame(paths["summary"], SUMMARY)
    assert not summary["quantity"].str.contains("|".join(REMEMBERED)).any()
    assert set(read_frame(paths["correlations"], CORRELATIONS)["y"]) == {
        *("acquisition", "performance_after")
    }
    claims = read_frame(paths["claims"], CLAIMS)
    about = "forget|accuracy|P after learning"
    assert not claims["statement"].str.contains(about).any()
    assert not claims["evidence"].str.contains("undefined|nan").any()
    untold = claims[claims["claim"] == "resuscitation_improves_acquisition"]
    assert set(untold["verdict"]) == {"not tested"}
    assert untold["evidence"].str.contains("P after was not measured").all()
    text = tables_in(told(study, paths))
    assert (
        "H and K in nats; A and exact match (of new knowledge, after learning) in percent." in text
    )


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name", OF_LEARNING)
def test_figures_have_no_panel_of_it(learned: Any, name: FigureName) -> None:
    style.use_style()
    figure = plot_figures.FIGURES[name](read_tables(*learned))
    settle(figure)
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.axison]
    assert titles
    assert not [title for title in titles if re.search(r"forgetting|\bF\b|\bP\b", title)]
    for axis in figure.axes:
        assert axis.has_data() or not axis.axison
