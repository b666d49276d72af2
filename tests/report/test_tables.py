"""Tables of the report: one error bar, columns that have data, CSVs that say of what they are."""

from __future__ import annotations

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
    DOWNSTREAM,
    ESTIMATES,
    RUNS,
    SUMMARY,
    WARNINGS,
)
from ke_steps.figures import style
from ke_steps.report.cells import MISSING, Cell, Number, lay_out
from ke_steps.report.downstream import downstream_table
from ke_steps.report.tables import Results, runs_and_states, stage_table, variant_table
from ke_steps.settings.telling import FigureName
from ke_steps.summary.digits import decimals_of
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION,
    FORGETTING,
    KNOWLEDGE_AFTER,
    Measure,
    number,
)
from ke_steps.summary.runs import mark
from tests.invented.figures import read_tables
from tests.invented.report import csv_of, report, words_of
from tests.invented.study import SyntheticStudy

STEPS = (400, 2000)


class Told(typing.NamedTuple):
    """A study of two stages and two seeds, its tables, and its report."""

    study: SyntheticStudy
    paths: dict[str, Path]
    results: Results
    text: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    root = tmp_path_factory.mktemp("study")
    variants = {"boost_p50_q2": (2000,)}
    study = SyntheticStudy(root, steps=STEPS, variants=variants, is_plain=True)
    paths = study.build()
    summary = mark(read_frame(paths["summary"], SUMMARY), read_frame(paths["runs"], RUNS))
    results = Results(summary, read_frame(paths["estimates"], ESTIMATES))
    return Told(study, paths, results, report(reported(study, paths)))


def reported(study: SyntheticStudy, paths: dict[str, Path]) -> dict[str, Any]:
    return {"root": study.root, "tables": paths, "figures": []}


def row_of(estimates: pd.DataFrame, measure: Measure, step: int) -> dict[Any, Any]:
    is_measure = (estimates[["quantity", "group"]] == list(measure)).all(axis=1)
    is_state = (estimates["step"] == step) & (estimates["variant"] == "original")
    (row,) = estimates[is_measure & is_state].to_dict("records")
    return row


@pytest.mark.parametrize(
    ("measure", "label", "figure", "panel"),
    [
        (ACQUISITION, "A", "acquisition_and_forgetting", 0),
        (FORGETTING, "F", "acquisition_and_forgetting", 1),
        (KNOWLEDGE_AFTER, "K after", "performance_by_stage", 0),
    ],
)
def test_cell_csv_and_figure_have_the_interval_of_the_estimates(
    measure: Measure, label: str, figure: FigureName, panel: int, told: Told
) -> None:
    style.use_style()
    axis = plot_figures.FIGURES[figure](read_tables(told.study, told.paths)).axes[panel]
    ends = {
        tuple(round(float(y), 9) for y in sorted(segment[:, 1]))
        for bars in axis.collections
        if hasattr(bars, "get_segments")
        for segment in bars.get_segments()
    }
    table = stage_table(told.results)
    column = table.columns.index(label)
    every = [row_of(told.results.estimates, measure, step) for step in STEPS]
    decimals = decimals_of([(row["low"], row["high"]) for row in every], measure.unit)
    full = csv_of(told.text, "main.csv").set_index("step")
    for step, cells in zip(STEPS, table.rows, strict=True):
        row = row_of(told.results.estimates, measure, step)
        value, low, high = (row[key] for key in ("value", "low", "high"))
        shown = [number(end, measure.unit, decimals) for end in (value, low, high)]
        assert cells[column] == f"{shown[0]}\n[{shown[1]}, {shown[2]}]"
        assert isinstance(cells[column], Cell)
        assert cells[column].number == value
        for key, end in (("", value), ("_low", low), ("_high", high)):
            assert full.loc[step, f"{measure.quantity}{key}"] == pytest.approx(end, rel=1e-12)
        for key in ("interval_kind", "num_seeds"):
            assert full.loc[step, f"{measure.quantity}_{key}"] == row[key]
        assert (round(low, 9), round(high, 9)) in ends


def test_seeds_are_thin_dots_beside_their_mean(told: Told) -> None:
    style.use_style()
    tables = read_tables(told.study, told.paths)
    axis = plot_figures.FIGURES["acquisition_and_forgetting"](tables).axes[0]
    rows = tables.summary[(tables.summary["quantity"] == "acquisition")]
    wanted = rows[(rows["group"] == "all/all") & (rows["variant"] == "original")]
    drawn = {tuple(point) for dots in axis.collections for point in dots.get_offsets().tolist()}
    assert {(row.step, row.value) for row in wanted.itertuples()} <= drawn


def test_knowledge_before_is_as_sure_as_its_passages(told: Told) -> None:
    """Alike in every seed: the range over seeds was ± 0."""
    full = csv_of(told.text, "main.csv")
    assert (full["performance_before_high"] - full["performance_before_low"] > 0.01).all()
    assert "± 0.000" not in words_of(told.text)


def test_the_main_table_has_the_columns_that_the_study_has_data_for(told: Told) -> None:
    def with_exact_match(table: pd.DataFrame) -> pd.DataFrame:
        rows = table[table["quantity"] == "acquisition"]
        exact = rows.assign(quantity="exact_match_after", value=0.0, low=0.0, high=0.03)
        return pd.concat([table[table["quantity"] != "exact_match_after"], exact])

    def without(table: pd.DataFrame) -> pd.DataFrame:
        return table[~table["quantity"].str.startswith("exact_match")]

    columns = stage_table(Results(*map(without, told.results))).columns
    assert columns[-2:] == ["bits before", "bits after"]
    table = stage_table(Results(*map(with_exact_match, told.results)))
    assert table.columns == [*columns, "exact match"]
    assert [row[-1] for row in table.rows] == ["0.0\n[0.0, 3.0]"] * 2


def test_what_never_learned_stands_among_the_steps() -> None:
    """Such as step 0, which would be last if those that learned came first."""
    learned = [("b", step, recipe) for step in (400, 1200) for recipe in ("first", "other")]
    idle = [("b", step, None) for step in (0, 400, 1200, 800)]
    other = [("a", step, None) for step in (1000, 200)]
    summary = pd.DataFrame([*learned, *idle, *other], columns=["model", "step", "recipe"])
    found = runs_and_states(summary.assign(variant="original")).fillna({"recipe": ""})
    assert list(found[["model", "recipe", "step"]].itertuples(index=False, name=None)) == [
        *(("b", "", 0), ("b", "first", 400), ("b", "", 800), ("b", "first", 1200)),
        *(("b", "other", 400), ("b", "other", 1200)),
        *(("a", "", 200), ("a", "", 1000)),
    ]


def test_every_run_has_its_own_interval_in_the_csv(told: Told) -> None:
    full = csv_of(told.text, "runs.csv").set_index(["step", "variant", "seed"])
    summary = told.results.summary
    for measure in (ACQUISITION, FORGETTING, KNOWLEDGE_AFTER):
        rows = summary[(summary[["quantity", "group"]] == list(measure)).all(axis=1)]
        assert len(rows) == len(full)
        for row in rows.to_dict("records"):
            run = full.loc[(row["step"], row["variant"], row["seed"])]
            for key, end in (("value", ""), ("low", "_low"), ("high", "_high")):
                assert run[f"{measure.quantity}{end}"] == pytest.approx(row[key], rel=1e-12)
        assert full[f"{measure.quantity}_low"].notna().all()


def test_variants_have_the_measures_with_one_denominator(told: Told) -> None:
    def with_contributions(table: pd.DataFrame) -> pd.DataFrame:
        rows = table[table["quantity"] == "entropy_nats"]
        return pd.concat([table, rows.assign(quantity="contribution_entropy_nats")])

    table = variant_table(Results(*map(with_contributions, told.results)))
    assert table is not None
    entropies = ["H", "H of contributions"]
    assert table.columns[:8] == ["step", "variant", *entropies, "A", "A*", "F", "F above chance"]
    assert [row[3] for row in table.rows] == [row[2] for row in table.rows]
    assert MISSING not in [row[3] for row in table.rows]


def test_the_downstream_gain_is_a_table_of_its_own(told: Told) -> None:
    row = {"model": "nursery", "recipe": "baseline", "step": 2000, "variant": "boost_p50_q2"}
    row |= {"change": 0.021, "change_low": -0.01, "change_high": 0.05}
    row |= {"relative": 0.04, "relative_low": -0.02, "relative_high": 0.1}
    row |= {"interval_kind": "bootstrap over items, paired", "num_seeds": 2, "num_items": 400}
    estimates = told.results.estimates
    table = downstream_table(pd.DataFrame([row], columns=DOWNSTREAM.names), estimates)
    assert table is not None
    (cells,) = table.rows
    shown = dict(zip(table.columns, cells, strict=True))
    assert list(shown)[:2] == ["step", "variant"]
    after = row_of(estimates, ACCURACY_AFTER, 2000)
    alone = Number(after["value"], "fraction", after["low"], after["high"])
    assert shown["P after, original"] == lay_out([{"P": alone}]).rows[0][0]
    assert shown["change, points"] == "+2.1\n[−1.0, 5.0]"
    assert shown["relative, %"] == "+4.0\n[−2.0, 10.0]"
    assert downstream_table(pd.DataFrame(columns=DOWNSTREAM.names), estimates) is None
    complete = csv_of(told.text, "downstream.csv")
    assert complete["variant"].tolist() == ["boost_p50_q2"]
    assert complete["change"].iloc[0] == pytest.approx(
        complete["changed_value"].iloc[0] - complete["original_value"].iloc[0]
    )


def test_warnings_are_counted_first_and_stand_before_the_verdicts(
    told: Told, tmp_path: Path
) -> None:
    sentence = "Two seeds tell little & <less>."
    row = {"model": "nursery", "subject": "seeds", "warning": sentence}
    path = tmp_path / "warnings.parquet"
    for rows in ([row], []):
        write_table(path, rows, WARNINGS)
        text = report(reported(told.study, {**told.paths, "warnings": path}))
        assert (sentence in words_of(text)) == ('class="warnings"' in text) == bool(rows)
        if rows:
            first, _, rest = text.partition('class="warnings"')
            assert "⚠ A warning</a>" in first
            assert 'id="verdicts"' not in first
            assert 'id="verdicts"' in rest
        else:
            assert "No warnings." in text


def test_every_claim_has_its_effect_beside_the_badge(told: Told) -> None:
    claims = read_frame(told.paths["claims"], CLAIMS).dropna(subset="value")
    effects = re.findall(r'class="effect">([^<]*)<', told.text)
    assert len(effects) == len(claims) > 0
