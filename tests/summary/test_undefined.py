"""What is not defined at a checkpoint is named, left out, drawn as a gap, written as a dash."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ke_steps import plot_figures
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import CLAIMS, DISTRIBUTIONS, RANKINGS, SUMMARY
from ke_steps.figures import style
from ke_steps.summary.undefined import Undefined, undefined
from tests.invented.figures import FIGURES, INPUTS, drawing_job, figure_outputs, read_tables
from tests.invented.report import report, words_of
from tests.invented.study import SyntheticStudy


@dataclass
class StudyWithGaps(SyntheticStudy):
    """No contribution in layer 2 at step 0; at step 400 layer 1 is dead."""

    num_layers: int = 3
    steps: tuple[int, ...] = (0, 100, 400, 800, 1200, 2000)
    dead_steps: tuple[int, ...] = (400,)

    def _add(self, files: Any, name: str, path: str, rows: Any, schema: Any) -> None:
        is_dead = any(f"/step{step}/" in path for step in self.dead_steps)
        for row in rows if name == "entropies" else ():
            is_silent = row["measure"] == "contribution" and row["layer"] in (2, None)
            is_activity = row["measure"] not in ("attention", "next_token")
            if ("/step0/" in path and is_silent) or (
                is_dead and is_activity and row["layer"] in (1, None)
            ):
                row.update(value=None, low=None, high=None)
        for row in rows if name == "replicates" else ():
            is_silent = row["quantity"] == "contribution_entropy_nats"
            is_activity = row["quantity"].endswith("entropy_nats") and not row[
                "quantity"
            ].startswith(("attention", "next_token"))
            if ("/step0/" in path and is_silent and row["group"] in ("layer 2", "model")) or (
                is_dead and is_activity and row["group"] in ("layer 1", "model")
            ):
                nothing = np.full_like(row["replicates"], np.nan)
                row.update(value=np.nan, replicates=nothing)
        if name == "activities" and is_dead:  # before their distribution is taken
            rows["mean_absolute"] *= rows["layer"] != 1
        super()._add(files, name, path, rows, schema)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyWithGaps:
    return StudyWithGaps(tmp_path_factory.mktemp("gaps"))


@pytest.fixture(scope="module")
def tables(study: StudyWithGaps) -> dict[str, Path]:
    return study.build()


def test_what_is_undefined_is_named(tables: dict[str, Path]) -> None:
    summary = read_frame(tables["summary"], SUMMARY)
    found = {each.quantity: each for each in undefined(summary)}
    contribution = "contribution_entropy_nats"
    assert found[contribution] == Undefined("nursery", contribution, [0, 400], [1, 2])
    assert found["entropy_nats"] == Undefined("nursery", "entropy_nats", [400], [1])
    assert "attention_entropy_nats" not in found


def test_claims_leave_such_stages_out_and_say_so(tables: dict[str, Path]) -> None:
    claims = read_frame(tables["claims"], CLAIMS).set_index("claim")
    for claim in ("entropy_falls", "every_layer_falls", "contribution_entropy_falls"):
        assert claims.loc[claim, "verdict"] == "supported"
        assert claims.loc[claim, "num_points"] == 4
        assert claims.loc[claim, "evidence"].endswith("not defined there: step 400.")
    assert not claims["evidence"].str.contains("nan").any()


@pytest.mark.parametrize("dead", [(100, 2000), (100, 400, 800, 1200, 2000)])
def test_few_stages_that_are_left_are_not_tested(tmp_path: Path, dead: tuple[int, ...]) -> None:
    tables = StudyWithGaps(tmp_path, dead_steps=dead).build()
    claims = read_frame(tables["claims"], CLAIMS).set_index("claim")
    for claim in ("entropy_falls", "every_layer_falls", "last_layer_falls_most"):
        assert claims.loc[claim, "verdict"] == "not tested"
        assert claims.loc[claim, "num_points"] == 5 - len(dead)
    assert "positive_entropy_falls" in claims.index
    assert not claims["evidence"].str.contains("nan").any()
    text = words_of(report({"root": tmp_path, "tables": tables, "figures": []}))
    assert "nan" not in text.replace("nano", "").split()
    if len(dead) == 5:
        assert "How H changes over pretraining was not tested: 0 pretraining stages" in text


def test_rankings_and_distributions_are_null_where_a_layer_is_dead(
    tables: dict[str, Path],
) -> None:
    rankings = read_frame(tables["rankings"], RANKINGS)
    concerned = (rankings[["step_from", "step_to"]] == 400).any(axis=1)
    is_null = concerned & (rankings["layer"].isna() | (rankings["layer"] == 1))
    numbers = rankings[["spearman", "most_active_kept", "least_active_kept"]]
    assert numbers[is_null].isna().all(axis=None)
    assert numbers[~is_null].notna().all(axis=None)
    distributions = read_frame(tables["distributions"], DISTRIBUTIONS)
    is_dead = (distributions["step"] == 400) & (distributions["layer"] == 1)
    assert (distributions["relative_activity"].isna() == is_dead).all()


def test_the_report_says_it_and_writes_a_dash(
    study: StudyWithGaps, tables: dict[str, Path]
) -> None:
    text = words_of(report({"root": study.root, "tables": tables, "figures": []}))
    assert (
        "The entropy H of contributions |c|·‖v‖ of nursery is not defined at steps 0, 400: no"
        " memory of layer 1, 2 has any, as where an output projection is all zero."
    ) in text
    assert "The knowledge entropy H of nursery is not defined at step 400" in text
    assert "A dash where something was measured: nothing defines it there." in text
    assert "nan" not in text.split()


def drawn_texts(figure: Figure) -> str:
    return " ".join(text.get_text() for axis in figure.axes for text in axis.texts)


def test_figures_have_a_gap_and_name_it(
    study: StudyWithGaps, tables: dict[str, Path], tmp_path: Path
) -> None:
    found = read_tables(study, tables)
    style.use_style()
    for name in ("entropy_by_stage", "entropy_by_measure"):
        figure = plot_figures.FIGURES[name](found)
        assert "not defined at step 400" in drawn_texts(figure)
    assert "not defined at step 0, 400" in drawn_texts(figure)
    lines = {len(line.get_xdata()): line for line in figure.axes[0].get_lines()}
    assert np.isnan(lines[6].get_ydata()[2])
    entropies = {name for name in FIGURES if name.startswith(("entropy", "coef", "rank"))}
    settings = drawing_job(study, sorted(entropies - {"entropy_by_phase"}))
    outputs = [tmp_path / f"{figure}.svg" for figure in settings.figures]
    inputs = {name: tables[name] for name in (*INPUTS, "runs")}
    more = figure_outputs(tmp_path, settings.figures)
    plot_figures.run(**inputs, **more, output_figures=outputs, settings=settings)
    assert all(output.stat().st_size for output in outputs)
