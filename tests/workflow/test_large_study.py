"""A study of 2,520 runs is summarised, drawn and reported, by the command lines of the steps.

Its results are few and made up, and lie in many places: what is tested is that the number of runs
breaks nothing, neither an argument's length nor the time, nor the page.
"""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import NamedTuple

import pytest

from ke_steps import summarize
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import CLAIMS, CURVES, DOWNSTREAM, RUNS, SUMMARY
from ke_steps.report.tables import MAX_ROWS
from tests.invented.command_line import call
from tests.invented.figures import figure_outputs
from tests.invented.large_study import VARIANTS, LargeStudy
from tests.invented.report import REPORT, ROOT, STUDY, csv_of, words_of

pytestmark = pytest.mark.slow

NUM_STEPS, NUM_AGES = 40, 4
NUM_STATES = NUM_STEPS * (1 + len(VARIANTS))
NUM_RUNS = 3 * NUM_STATES
FIGURES = (
    *("entropy_by_stage", "entropy_by_layer", "acquisition_and_forgetting"),
    *("performance_by_stage", "probe_curves", "knowledge_by_injection", "variants"),
    *("resuscitation_by_boost", "resuscitation_by_quantile", "resuscitation_by_stage"),
    *("entropy_and_learning", "coefficient_distributions", "ranking_changes"),
)
MOST_BYTES = 20_000_000


class Told(NamedTuple):
    """What the steps made of the study."""

    tables: dict[str, Path]
    figures: list[Path]
    page: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return tell(LargeStudy(tmp_path_factory.mktemp("large"), NUM_STEPS, NUM_AGES))


def tell(study: LargeStudy) -> Told:
    """Make a study's results, and call the steps that tell of them."""
    root = study.root
    study.write()
    tables = {name: root / "summarize" / f"{name}.parquet" for name in summarize.TABLES}
    made = {"output_tables": list(tables.values())}
    assert call("summarize", study.settings, **study.patterns, **made) is None
    figures = [root / "plot_figures" / f"{figure}.svg" for figure in FIGURES]
    beside = figure_outputs(root / "plot_figures", FIGURES)
    drawn = {"output_figures": figures, **beside}
    drawing = study.drawing(FIGURES)
    assert call("plot_figures", drawing, **read_by("plot_figures", tables), **drawn) is None
    page = root / "report.html"
    wrong = call(
        "write_report",
        {"title": "A large study", "description": "Made up.", "study": json.dumps(STUDY)},
        **read_by("write_report", tables),
        **{name.removeprefix("output_"): paths for name, paths in drawn.items()},
        captions=[REPORT / f"{figure}.rst" for figure in FIGURES],
        templates=sorted((REPORT / "page").iterdir()),
        glossary=ROOT / "docs" / "glossary.md",
        citation=ROOT / "CITATION.cff",
        output_html=page,
        output_markdown=root / "summary.md",
        output_json=root / "summary.json",
    )
    assert wrong is None
    return Told(tables, figures, page.read_text())


def read_by(step: str, tables: dict[str, Path]) -> dict[str, Path]:
    """Return the tables that a step reads."""
    asked = inspect.signature(importlib.import_module(f"ke_steps.{step}").run).parameters
    return {name: path for name, path in tables.items() if name in asked}


def test_every_run_is_counted(told: Told) -> None:
    assert NUM_RUNS == 2520
    runs = read_frame(told.tables["runs"], RUNS)
    assert len(runs) == len(runs[["step", "variant", "seed"]].drop_duplicates()) == NUM_RUNS
    summary = read_frame(told.tables["summary"], SUMMARY)
    whole = summary[summary["group"].isin(["model", "mean", "all/all"])]
    counted = whole["quantity"].value_counts()
    assert counted["entropy_nats"] == counted["accuracy_before"] == NUM_STATES
    for measured in ("acquisition", "accuracy_after", "forgetting", "training_loss"):
        assert counted[measured] == NUM_RUNS
    curves = read_frame(told.tables["curves"], CURVES)
    ends = curves[(curves["moment"] == "end") & (curves["condition"] == "all")]
    assert len(ends) == NUM_RUNS
    assert len(read_frame(told.tables["downstream"], DOWNSTREAM)) == NUM_STATES - NUM_STEPS


def test_what_was_put_in_is_found(told: Told) -> None:
    claims = read_frame(told.tables["claims"], CLAIMS).set_index("claim")
    fall = claims.loc["entropy_falls"]
    assert fall["verdict"] == "supported"
    assert fall["num_points"] == NUM_STEPS - 1  # all but the untrained
    woken = claims.loc["resuscitation_raises_entropy"]
    assert list(woken["variant"]) == VARIANTS
    assert set(woken["verdict"]) == {"supported"}


def test_every_figure_is_drawn(told: Told) -> None:
    assert [path.stem for path in told.figures] == list(FIGURES)
    sizes = {path.stem: path.stat().st_size for path in told.figures}
    assert all(10_000 < size < 2_000_000 for size in sizes.values()), sizes


def test_the_page_stays_small_and_names_what_it_leaves_out(told: Told) -> None:
    assert len(told.page) < MOST_BYTES
    assert f"The first {MAX_ROWS} of {NUM_RUNS:,} rows" in words_of(told.page)
    assert len(csv_of(told.page, "runs.csv")) == NUM_RUNS
