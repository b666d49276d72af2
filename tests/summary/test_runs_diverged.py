"""Runs that diverged are kept and told of, and are in no mean, correlation or verdict."""

from __future__ import annotations

import contextlib
import math
import re
import typing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ke_steps import plot_figures
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.summary_schemas import (
    CLAIMS,
    CORRELATIONS,
    CURVES,
    ESTIMATES,
    RETAINED_CURVES,
    RUNS,
    SUMMARY,
)
from ke_steps.figures.layout import settle
from ke_steps.figures.telling import words_of as words_of_figure
from ke_steps.job.errors import UserError
from ke_steps.settings.telling import FigureName
from ke_steps.summary.points import points
from ke_steps.summary.quantities import ACQUISITION
from ke_steps.summary.runs import converged, diverged
from tests.invented.claims import LEVEL
from tests.invented.figures import drawing_job, figure_outputs, read_tables
from tests.invented.report import STUDY, csv_of, report, words_of
from tests.invented.study import SyntheticStudy

pytestmark = pytest.mark.slow

BOOST = "boost_p50_q2"
DIVERGED = {
    "nursery/step400/original/baseline/seed1": "stopped",
    f"nursery/step1200/{BOOST}/baseline/seed0": "rising",
    "nursery/step800/original/baseline/seed0": "stopped",
    "nursery/step800/original/baseline/seed1": "rising",
}
SCHEMAS = {
    "summary": SUMMARY,
    "estimates": ESTIMATES,
    "curves": CURVES,
    "retained": RETAINED_CURVES,
    "correlations": CORRELATIONS,
    "claims": CLAIMS,
}
DRAWN_FROM = (
    *list(SCHEMAS)[:5],
    *("between_runs", "families", "phases", "frontiers", "effects", "runs", "distributions"),
    *("rankings", "novelty"),
)
FIGURES = tuple(name for name in typing.get_args(FigureName) if name != "entropy_by_phase")
"""All but one that compares families of models."""
RICH: dict[str, Any] = {
    "variants": dict.fromkeys(
        ("boost_p50_q1", BOOST, "boost_p25_q2", "temperature1.5", "temperature2"), (400,)
    ),
    "recipes": ("baseline", "c4"),
}
"""A study with the data for every figure."""


class Two(typing.NamedTuple):
    """A study with runs that diverged, and the same study had they not been made."""

    study: SyntheticStudy
    told: dict[str, Path]
    without: dict[str, Path]
    root: Path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    root = tmp_path_factory.mktemp("diverged")
    study = SyntheticStudy(root / "told", diverged=DIVERGED)
    return Two(
        study,
        study.build(),
        SyntheticStudy(root / "without", absent=tuple(DIVERGED)).build(),
        root,
    )


def frame(tables: dict[str, Path], name: str) -> pd.DataFrame:
    return read_frame(tables[name], SCHEMAS.get(name, RUNS))


# --- What diverged is ---------------------------------------------------------------------------


# --- Tables -------------------------------------------------------------------------------------


def test_the_table_of_runs_says_how_each_ended(two: Two) -> None:
    runs = frame(two.told, "runs").set_index(["step", "variant", "seed"])
    assert len(runs) == 6 * 2 + 2 * 2
    assert runs["diverged_at_step"].dropna().to_dict() == {
        (400, "original", 1): 17,
        (800, "original", 0): 17,
        (800, "original", 1): 60,
        (1200, BOOST, 0): 60,
    }
    stopped, rising, planned = (
        runs.loc[key] for key in [(400, "original", 1), (1200, BOOST, 0), (0, "original", 0)]
    )
    assert (stopped["num_steps"], rising["num_steps"], planned["num_steps"]) == (16, 60, 60)
    assert stopped["first_loss_nats"] == pytest.approx(2.99)
    assert math.isnan(stopped["last_loss_nats"])
    assert rising["last_loss_nats"] == pytest.approx(4.8)


def test_the_summary_keeps_runs_that_diverged(two: Two) -> None:
    summary = frame(two.told, "summary")
    runs = summary.dropna(subset=["recipe"])[["step", "variant", "seed"]].drop_duplicates()
    assert len(runs) == 6 * 2 + 2 * 2
    loss = summary[(summary["quantity"] == "training_loss") & (summary["step"] == 400)]
    assert loss.set_index("seed")["value"].isna().to_dict() == {0: False, 1: True}


@pytest.mark.parametrize("name", ["estimates", "correlations", "claims"])
def test_verdicts_are_those_of_a_study_without_these_runs(two: Two, name: str) -> None:
    told, without = (frame(tables, name) for tables in (two.told, two.without))
    if name == "claims":  # those between runs of pretraining name what diverged
        is_between = told["claim"].str.endswith("_between_runs")
        assert told.loc[is_between, "evidence"].str.contains("diverged: nursery").all()
        evidence = told["evidence"].where(~is_between, without["evidence"])
        told = told.assign(evidence=evidence)
    pd.testing.assert_frame_equal(told, without)


@pytest.mark.parametrize("name", ["summary", "curves", "retained"])
def test_what_is_left_is_a_study_without_these_runs(two: Two, name: str) -> None:
    told, runs = frame(two.told, name), frame(two.told, "runs")
    assert len(converged(told, runs)) < len(told)
    pd.testing.assert_frame_equal(converged(told, runs), frame(two.without, name))


def test_without_divergence_nothing_is_left_out(two: Two) -> None:
    whole, runs = frame(two.without, "summary"), frame(two.without, "runs")
    assert runs["diverged_at_step"].isna().all()
    pd.testing.assert_frame_equal(converged(whole, runs), whole)
    assert len(diverged(whole, runs)) == 0


# --- Figures ------------------------------------------------------------------------------------


def draw(
    study: SyntheticStudy, tables: dict[str, Path], folder: Path, figures: typing.Sequence[str]
) -> dict[str, bytes]:
    outputs = [folder / f"{figure}.svg" for figure in figures]
    plot_figures.run(
        **{name: tables[name] for name in DRAWN_FROM},
        **figure_outputs(folder, figures),
        output_figures=outputs,
        settings=drawing_job(study, figures),
    )
    return {path.stem: path.read_bytes() for path in outputs}


def rich_report(root: Path, tables: dict[str, Path]) -> str:
    recipes = dict.fromkeys(RICH["recipes"], STUDY["recipes"]["baseline"])
    study = {"root": root, "tables": tables, "figures": []}
    return report(study, settings={"study": STUDY | {"recipes": recipes}})


OF_RUNS = ("acquisition_and_forgetting", "variants", "knowledge_by_injection", "update_map")


def test_figures_show_the_means_of_the_others(two: Two) -> None:
    told = draw(two.study, two.told, two.root / "a", [*OF_RUNS, "probe_curves"])
    without = draw(two.study, two.without, two.root / "b", [*OF_RUNS, "probe_curves"])
    assert [name for name in told if told[name] != without[name]] == ["probe_curves"]


def test_curves_of_runs_that_diverged_are_dotted(two: Two, monkeypatch) -> None:
    figures = []
    monkeypatch.setattr(plot_figures, "save", lambda figure, path, kind: figures.append(figure))
    with contextlib.suppress(FileNotFoundError):  # of the picture that was not saved
        draw(two.study, two.told, two.root, ["probe_curves"])
    lines = figures[0].axes[0].get_lines()
    assert sum(line.get_linestyle() == ":" for line in lines) == 3


def test_a_study_in_which_every_run_diverged_is_told_to_the_end(tmp_path: Path) -> None:
    seeds = (0,)
    diverged = {
        f"nursery/step{step}/{variant}/{recipe}/seed{seed}": "stopped"
        for step in (0, 400)
        for variant in ("original", *RICH["variants"])
        for recipe in RICH["recipes"]
        for seed in seeds
    }
    study = SyntheticStudy(tmp_path, **RICH, steps=(0, 400), seeds=seeds, diverged=diverged)
    tables = study.build()
    num_runs = 2 * (1 + 1 + len(RICH["variants"]))
    assert len(draw(study, tables, tmp_path, FIGURES)) == len(FIGURES)
    text = rich_report(tmp_path, tables)
    words = words_of(text)
    assert f"{num_runs} of {num_runs} runs diverged" in words
    assert csv_of(text, "main.csv")["acquisition"].isna().all()


def test_a_figure_without_data_is_still_refused_when_no_run_diverged(two: Two) -> None:
    plain = SyntheticStudy(two.root / "plain", steps=(400,), variants={}, is_plain=True)
    with pytest.raises(UserError, match="retention_over_time: the tables hold nothing"):
        draw(plain, plain.build(), two.root, ["retention_over_time"])


def test_an_unknown_value_at_one_stage_leaves_figures_and_report_whole(tmp_path: Path) -> None:
    study = SyntheticStudy(tmp_path, **RICH, steps=(0, 400, 2000))
    tables = study.build()
    for name in ("summary", "estimates"):
        table = frame(tables, name)
        rows = (table["quantity"] == "forgetting") & (table["step"] == 400)
        table.loc[rows, ["value", "low", "high"]] = math.nan
        write_table(tables[name], table, SCHEMAS[name])
    in_memory = read_tables(study, tables)
    for name in FIGURES:
        figure = plot_figures.draw(name, in_memory, has_diverged=False)
        assert not re.search(r"\bnan\b", repr(words_of_figure(name, figure, LEVEL)))
        settle(figure)
    words = words_of(rich_report(tmp_path, tables))
    assert not re.search(r"\bnan\b", words)


# --- The report ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(two: Two) -> str:
    return report({"root": two.root, "tables": two.told, "figures": []})


def test_the_report_says_which_runs_are_left_out(two: Two, page: str) -> None:
    words = words_of(page)
    assert (
        "4 of 16 runs diverged and are left out of every mean, correlation and verdict:"
        " step 400 original baseline seed 1 (at step 17);"
    ) in words
    assert words.count("4 of 16 runs diverged") >= 2
    calm = words_of(report({"root": two.root, "tables": two.without, "figures": []}))
    assert "diverged" not in calm


def test_the_table_of_runs_marks_them_and_comes_with_their_numbers(page: str) -> None:
    assert page.count("⚠ diverged at step 17") == 2
    assert page.count("⚠ diverged at step 60") == 2
    runs = csv_of(page, "runs.csv")
    assert runs["diverged_at_step"].notna().tolist() == [True] * 4 + [False] * 12
    assert runs["acquisition"].iloc[0] < -1
    complete = csv_of(page, "summary.csv.gz")
    lost = complete[complete["diverged_at_step"].notna()]
    assert set(zip(lost["step"], lost["variant"], lost["seed"], strict=True)) == {
        (400, "original", 1),
        (800, "original", 0),
        (800, "original", 1),
        (1200, BOOST, 0),
    }


def test_a_stage_whose_runs_all_diverged_says_so(two: Two, page: str) -> None:
    (row,) = [row for row in rows_of(page, "Every stage") if row[0] == "800"]
    assert row[1] != "diverged"  # its entropy was measured before any learning
    assert row[2:6] == ["diverged", "diverged", "diverged", "diverged"]
    (kept,) = [row for row in rows_of(page, "Every stage") if row[0] == "400"]
    value = points(frame(two.without, "estimates"), "nursery", ACQUISITION, "baseline")
    expected = value.set_index("step")["value"][400]
    assert kept[2].startswith(f"{100 * expected:.0f}")
    recipes = rows_of(page, "Acquisition and forgetting by recipe")
    (line,) = [row for row in recipes if "A, %" in row]
    assert line.count("diverged") == 1


def rows_of(page: str, title: str) -> list[list[str]]:
    table = page[page.index(title) :].split("<tbody>")[1].split("</tbody>", maxsplit=1)[0]
    rows = table.split("<tr>")[1:]
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows]


def test_many_runs_that_diverged_are_counted_not_listed(tmp_path: Path) -> None:
    diverged = {
        f"nursery/step{step}/original/baseline/seed{seed}": "stopped"
        for step in (0, 100, 400, 800)
        for seed in (0, 1)
    }
    tables = SyntheticStudy(tmp_path, variants={}, diverged=diverged).build()
    words = words_of(report({"root": tmp_path, "tables": tables, "figures": []}))
    assert "and 3 more, which the table of every run marks." in words


# --- Decay --------------------------------------------------------------------------------------
