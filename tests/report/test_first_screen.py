"""The first screen as data and as text: key table, what it rests on, counts of verdicts."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ke_steps.report.first_screen import MAX_STAGES, screen_of
from ke_steps.report.key_cells import curve_of, spread_out
from ke_steps.report.overview import Overview
from ke_steps.report.short_forms import markdown, terminal
from ke_steps.summary.quantities import (
    ACQUISITION,
    ACQUISITION_FROM_ORIGINAL,
    ENTROPY,
    ENTROPY_BOUND,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
)
from tests.invented.report import HALF, STEPS, claim, courses, overview

H = [10.5, 10.4, 10.3, 10.0]
LEARNED = {
    ENTROPY: H,
    ENTROPY_BOUND: [11.09] * 4,
    KNOWLEDGE_AFTER: [-5.0, -5.5, -6.0, -6.5],
    ACQUISITION: [0.5, 0.4, 0.3, 0.2],
    ACQUISITION_FROM_ORIGINAL: [0.5, 0.4, 0.3, 0.2],
    FORGETTING_ABOVE_CHANCE: [0.1, 0.2, np.nan, 0.4],
}
VERDICTS = [
    claim("entropy_falls", value=-0.5, verdict="supported"),
    claim("knowledge_after_falls", value=-1.5, verdict="supported"),
    claim("a", is_primary=False, verdict="not supported", adjusted_p_value=0.01),
    claim("b", is_primary=False, verdict="not tested"),
    claim("c", is_primary=False, origin="beyond", verdict="inconclusive", adjusted_p_value=0.2),
    claim("d", is_primary=False, origin="beyond", verdict="not tested"),
    claim("e", is_primary=None, origin="prediction", statement="P1: So.", verdict="supported"),
]


def one() -> Overview:
    return overview(
        VERDICTS,
        courses("nursery", LEARNED, "baseline"),
        warnings=[("nursery", "seeds", "Recipe baseline has 2 seeds | few.")],
    )


def row(whole: Overview, label: str) -> list[float | None]:
    (found,) = (each for each in whole.key_table.rows if each.label == label)
    return [point.value for point in found.points]


def test_the_key_table_has_the_first_recipe_of_the_first_model() -> None:
    other = {KNOWLEDGE_AFTER: [0.0] * 4, ACQUISITION: [0.9] * 4}
    estimates = pd.concat(
        [
            courses("first", LEARNED, "baseline"),
            courses("first", other, "another"),
            courses("second", LEARNED, "another"),
        ]
    )
    table = overview([], estimates).key_table
    assert (table.name, table.recipe, table.num_others) == ("first", "baseline", 1)
    assert table.steps == list(STEPS)
    assert table.bound_nats == 11.09
    values = {found.label: [point.value for point in found.points] for found in table.rows}
    assert values["H"] == H
    assert values["K after"] == LEARNED[KNOWLEDGE_AFTER]
    assert values["F above chance"] == [0.1, 0.2, None, 0.4]
    assert "P before" not in values


def test_of_a_family_it_has_the_mean_over_models_at_the_stages_that_all_have() -> None:
    moved = {ENTROPY: [value + 0.4 for value in H], KNOWLEDGE_AFTER: [-4.0, -4.5, -5.0, -5.5]}
    second = courses("b", moved, "baseline")
    estimates = pd.concat(
        [
            courses("a", LEARNED, "baseline"),
            second[second["step"] != STEPS[0]],
            courses("z", LEARNED, "baseline"),
        ]
    )
    families = {"a": "kin", "b": "kin", "z": "other"}
    table = overview([], estimates, families=families).key_table
    assert (table.name, table.models, table.num_others) == ("kin", ["a", "b"], 1)
    assert table.steps == list(STEPS[1:])
    rows = {found.label: found for found in table.rows}
    assert [point.value for point in rows["H"].points] == pytest.approx([10.6, 10.5, 10.2])
    assert [point.value for point in rows["K after"].points] == pytest.approx([-5, -5.5, -6])
    assert {point.num_seeds for point in rows["H"].points} == {2}
    assert {point.num_items for point in rows["H"].points} == {28}
    widths = [point.high - point.low for point in rows["H"].points if point.low and point.high]
    assert all(width > 2 * HALF for width in widths)


def test_a_family_without_a_common_stage_is_told_by_its_first_model() -> None:
    first, second = (courses(name, LEARNED, "baseline") for name in "ab")
    parts = [first[first["step"] < 500], second[second["step"] > 500]]
    table = overview([], pd.concat(parts), families={"a": "kin", "b": "kin"}).key_table
    assert (table.name, table.steps) == ("a", [100, 400])


def test_a_study_without_learning_has_the_entropies_alone() -> None:
    whole = overview(VERDICTS[:1], courses("nursery", {ENTROPY: H}, None))
    assert [found.label for found in whole.key_table.rows] == ["H"]
    assert whole.key_table.recipe is None
    text = markdown(whole)
    assert "Measured: nursery, 4 stages; n = 28 groups of sequences (H)." in text
    assert "learning" not in text
    assert "| H, nats | 10.50 ± 0.05 | 10.40 ± 0.05 | 10.30 ± 0.05 | 10.00 ± 0.05 |" in text


def test_a_study_with_nothing_tested_says_that() -> None:
    one_stage = courses("nursery", {ENTROPY: H}, None).head(1)
    whole = overview([claim("entropy_falls")], one_stage)
    assert "was not tested" in whole.findings[0].sentence
    assert "- Not tested: 1 of the paper's" in markdown(whole)
    assert curve_of(whole.key_table.rows[0]) is None


def test_a_star_is_told_once_where_it_is_a() -> None:
    labels = [line.label for line in screen_of(one()).lines]
    assert labels == ["H, nats (≤ 11.09)", "K after, nats", "A = A*, %", "F above chance, %"]
    differing = LEARNED | {ACQUISITION_FROM_ORIGINAL: [0.4, 0.4, 0.3, 0.2]}
    whole = overview([], courses("nursery", differing, "baseline"))
    labels = [line.label for line in screen_of(whole).lines]
    assert labels[2:4] == ["A, %", "A*, %"]


def test_verdicts_are_counted_by_whose_claim_it_is_and_the_untested_apart() -> None:
    screen = screen_of(one())
    assert screen.tallies == [
        ("The paper's claims", {"supported": 2, "not supported": 1}),
        ("Beyond the paper", {"inconclusive": 1}),
        ("Predictions", {"supported": 1}),
        ("Not tested", {"of the paper's": 1, "beyond the paper": 1}),
    ]
    assert screen.correction == "2 verdicts corrected for their number, by Holm."


def test_markdown_has_it_all_and_escapes_what_it_is_given() -> None:
    text = markdown(one())
    assert text.startswith("# A study\n\nIn words.\n\n## Findings\n\n- H fell over pretraining")
    assert "the paper reports a fall. *Supported.*" in text
    assert "| F above chance, % | 10 ± 5 | 20 ± 5 | – | 40 ± 5 |" in text
    assert "- Recipe baseline has 2 seeds \\| few." in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {6}


def test_the_lines_for_a_terminal_fit() -> None:
    lines = list(terminal(one()))
    assert max(map(len, lines)) <= 100
    assert len({len(line) for line in lines[1:6]}) == 1
    words = [line.split() for line in lines]
    assert ["step", "100", "400", "800", "2,000"] in words
    assert ["F", "above", "chance,", "%", "10±5", "20±5", "–", "40±5"] in words
    assert "The paper's claims: 2 supported, 1 not supported" in lines
    assert lines[-1] == "1 warning: in the report, above its verdicts"


def test_more_stages_than_fit_are_said_and_the_curve_has_all() -> None:
    many = courses("nursery", {ENTROPY: H}, None).iloc[[0]]
    steps = list(range(1000, 21000, 1000))
    estimates = pd.concat([many.assign(step=step, value=10 - step / 1e5) for step in steps])
    estimates = estimates.assign(low=estimates["value"] - 0.1, high=estimates["value"] + 0.1)
    whole = overview([], estimates)
    screen = screen_of(whole)
    assert len(screen.heads) == MAX_STAGES
    assert (screen.heads[0], screen.heads[-1]) == ("1,000", "20,000")
    curve = screen.lines[0].curve
    assert curve is not None
    assert [len(line.split()) for line in curve.lines] == [20]
    lines = list(terminal(whole))
    assert max(map(len, lines)) <= 100
    assert any(line.endswith("of 20 stages; the report has all.") for line in lines)


def test_a_curve_has_a_gap_where_nothing_is_known() -> None:
    found = next(each for each in one().key_table.rows if each.label == "F above chance")
    curve = curve_of(found)
    assert curve is not None
    first, last = curve.lines
    assert (len(first.split()), len(last.split())) == (2, 1)
    heights = [float(point.split(",")[1]) for point in [*first.split(), *last.split()]]
    assert heights == sorted(heights, reverse=True)
    assert last == f"{curve.end[0]:g},{curve.end[1]:g}"
    assert curve.title == "F above chance by stage: 10, 20, –, 40"


@pytest.mark.parametrize("most", range(1, 9))
def test_stages_are_spread_out_evenly_and_the_last_is_there(most: int) -> None:
    places = spread_out(list(range(8)), most)
    assert len(places) == len(set(places)) == most
    assert places[-1] == 7
    assert most == 1 or places[0] == 0


def test_the_data_are_json_with_unrounded_numbers() -> None:
    estimates = courses("nursery", LEARNED, "baseline").assign(value=1 / 3)
    whole = overview(VERDICTS, estimates)
    again = json.loads(json.dumps(whole.model_dump(mode="json"), allow_nan=False))
    assert Overview.model_validate(again) == whole
    assert row(whole, "A") == [1 / 3] * 4
