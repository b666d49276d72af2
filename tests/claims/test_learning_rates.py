"""Stages and variants over learning rates: verdicts where the frontiers are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.summary_schemas import FRONTIERS
from ke_steps.claims.best_rates import best_of
from ke_steps.claims.frontier_rows import frontier_rows
from ke_steps.claims.frontiers import Frontiers, Points, _area, frontiers_of
from ke_steps.claims.learning_rates import learning_rates
from ke_steps.claims.measured import State
from ke_steps.formulas.bootstrap import bootstrap_weights
from ke_steps.job.errors import UserError
from tests.invented.claims import Invented, answers, finding_of
from tests.invented.frontiers import RATES, VARIANT, line, swept

FRONTIER = "variant_learns_more_by_frontier"
AT_BEST = "variant_learns_more_at_best_rate"
STAGES = "last_stage_learns_less_by_frontier"
STAGES_AT_BEST = "last_stage_learns_less_at_best_rate"
ORIGINAL = (400, "original")
CHANGED = (400, VARIANT)


def finding(invented: Invented, name: str) -> Any:
    return finding_of(invented, learning_rates, name)


def rows(invented: Invented) -> pd.DataFrame:
    found = list(frontier_rows(invented.measured()))
    return pd.DataFrame(found).reindex(columns=FRONTIERS.names)


@pytest.mark.parametrize(
    ("lift", "verdict"), [(0.5, "supported"), (-0.5, "not supported"), (0.0, "inconclusive")]
)
def test_a_frontier_that_lies_higher_by_a_known_amount(lift, verdict):
    made = swept({ORIGINAL: line(), CHANGED: line(start=-3 + lift)})
    found = finding(made, FRONTIER)
    assert found.verdict == verdict
    assert found.estimate.value == pytest.approx(lift, abs=0.03)
    assert found.estimate.low < lift < found.estimate.high
    assert "K at the same P, of 50.0 to 80.0 %" in found.evidence
    assert (found.recipe, found.variant, found.num_points) == ("baseline", VARIANT, 4)


def test_moving_along_the_frontier_gains_nothing():
    """Another grid of rates on the same line: at any one rate K is higher and P is lower."""
    made = swept({ORIGINAL: line(), CHANGED: line((0.75, 0.65, 0.55, 0.45))})
    found = finding(made, FRONTIER)
    assert found.verdict != "supported"
    assert found.estimate.value == pytest.approx(0.0, abs=0.03)
    assert "of 50.0 to 75.0 %" in found.evidence


def test_a_curve_beside_another_is_not_compared_at_the_same_accuracy():
    made = swept({ORIGINAL: line((0.9, 0.8, 0.75, 0.7)), CHANGED: line((0.6, 0.5, 0.4, 0.3))})
    found = finding(made, FRONTIER)
    assert found.verdict == "not tested"
    assert np.isnan(found.estimate.value)
    assert (
        "Not compared at the same P, as there is none that both reach in every seed: P after is"
        " 30.0 to 60.0 % at step 400 as gauge, 70.0 to 90.0 % at step 400." in found.evidence
    )
    assert "The area above P 25.0 % and K −10.000 nats" in found.evidence
    table = rows(made)
    assert table[["matched_from", "matched_to", "lead_nats"]].isna().all(axis=None)
    assert table["area_nats"].notna().all()


def test_three_rates_are_not_tested_and_told():
    made = swept({ORIGINAL: line()[:3], CHANGED: line()})
    for name in (FRONTIER, AT_BEST):
        found = finding(made, name)
        assert (found.verdict, found.num_points) == ("not tested", 3)
        assert (
            "3 learning rates with K and P after learning at step 400; a frontier needs 4."
            in found.evidence
        )
    table = rows(made)
    assert len(table) == 7
    assert table["area_nats"].isna().sum() == 7  # without the original there is no reference
    assert table["knowledge_after_nats"].notna().all()


def test_rates_without_a_seed_in_common_are_no_frontier():
    made = swept({ORIGINAL: line()[:3], CHANGED: line()}, seeds=(0, 1))
    before = np.full(60, -10.0)
    made.run(400, 2, (before, before + 2), answers(0.5), recipe="lr2e-3")
    found = finding(made, FRONTIER)
    assert found.verdict == "not tested"
    assert "4 learning rates" in found.evidence
    assert "and no seed has them all" in found.evidence


def test_without_old_knowledge_there_is_no_frontier():
    made = Invented(frontiers={"baseline": RATES})
    for step in (100, 200):
        for recipe in RATES:
            values = np.linspace(-9, -8, 20)
            made.run(step, 0, (values, values + 2), recipe=recipe)
    found = finding(made, STAGES)
    assert found.verdict == "not tested"
    assert found.evidence.startswith("0 learning rates with K and P after learning at step 200")


def test_the_last_stage_is_compared_with_the_middle_one():
    curves = {
        (step, "original"): line(start=start)
        for step, start in ((100, -4), (200, -3), (300, -3.5), (400, -3.6))
    }
    found = finding(swept(curves), STAGES)
    assert found.verdict == "supported"
    assert found.estimate.value == pytest.approx(-0.6, abs=0.03)
    assert "between step 400 and step 200" in found.evidence
    table = rows(swept(curves)).drop_duplicates("step").set_index("step")
    assert table["reference_step"].dropna().to_dict() == {300: 200, 400: 200}
    rising = {(100, "original"): line(), (200, "original"): line(start=-2)}
    assert finding(swept(rising), STAGES).verdict == "not supported"


def test_the_untrained_model_is_no_stage():
    made = swept({(0, "original"): line(), (100, "original"): line()})
    assert not list(learning_rates(made.measured()))
    assert set(rows(made)["step"]) == {100}


def test_areas_of_lines_are_those_of_trapezia():
    made = swept({ORIGINAL: line(), CHANGED: line(start=-2)}, noise=0.0, seeds=(0,))
    table = rows(made).set_index(["variant", "recipe"])
    points = table.loc["original"]
    heights = points["knowledge_after_nats"] + 10
    old = points["accuracy_after"]
    area = (0.5 - 0.25) * heights.max() - np.trapezoid(heights, old)
    assert points["area_nats"].iloc[0] == pytest.approx(area)
    lead = table.loc[VARIANT].iloc[0]
    assert lead["lead_nats"] == pytest.approx(1.0)
    assert lead["area_lead_nats"] == pytest.approx(0.8 - 0.25)
    assert (lead["matched_from"], lead["matched_to"]) == pytest.approx((0.5, 0.8))
    assert list(lead[["reference_step", "reference_variant"]]) == [400, "original"]


def test_the_best_rate_is_chosen_on_one_half_and_judged_on_the_other():
    """Noise alone: the best of four on its own passages is above the rest, on others not."""
    flat = [(0.7, -6.0)] * 4
    leads, chosen = [], []
    for seed in range(25):
        made = swept({ORIGINAL: flat}, noise=1.0, seeds=(0,), generator_seed=seed)
        (found,) = frontiers_of(made.measured())
        best = best_of(found)[State(400)]
        of_all = found.states[State(400)].points[0].knowledge[0]
        leads.append(best.knowledge[0].value - of_all.mean())
        chosen.append(of_all.max() - of_all.mean())
    assert np.mean(chosen) > 3 * np.std(chosen) / np.sqrt(25)
    assert abs(np.mean(leads)) < 3 * np.std(leads) / np.sqrt(25)


@pytest.mark.parametrize(
    ("lift", "kept", "verdict"),
    [
        (0.5, 0.5, "supported"),
        (0.5, 0.3, "not supported"),  # bought with old knowledge
        (-0.5, 0.5, "not supported"),
        (0.0, 0.5, "inconclusive"),
    ],
)
def test_at_the_best_rate_new_knowledge_must_not_cost_old(lift, kept, verdict):
    best, *_ = reversed(line())
    changed = [*line()[:3], (kept, best[1] + lift)]
    made = swept({ORIGINAL: line(), CHANGED: changed})
    found = finding(made, AT_BEST)
    assert found.verdict == verdict
    assert "Best at step 400: 0.002 (at the edge of the grid)." in found.evidence


def test_the_same_answers_are_told_apart_by_what_so_few_items_resolve():
    """P after is the same item by item: no resample differs, and yet 400 items do not show it."""
    made = swept({ORIGINAL: line(), CHANGED: line(start=-2.5)}, seeds=(0,))
    found = finding(made, AT_BEST)
    assert "P after differs by 0.00 points (95 % interval −0.92 to 0.92 points)" in found.evidence
    assert found.verdict == "supported"


def test_no_area_is_negative_nor_its_interval():
    made = swept({ORIGINAL: [(0.26, -9.9)] * 4})
    area = rows(made)[["area_low", "area_nats"]]
    assert (area >= 0).all(axis=None)


def test_stages_at_their_best_rates():
    peaked = [(0.8, -7.0), (0.7, -6.0), (0.6, -7.0), (0.5, -8.0)]
    later = [(0.8, -8.0), (0.7, -7.5), (0.6, -6.5), (0.5, -8.0)]
    made = swept({(100, "original"): peaked, (200, "original"): later})
    found = finding(made, STAGES_AT_BEST)
    assert found.verdict == "supported"
    assert found.estimate.value == pytest.approx(-0.5, abs=0.03)
    assert "Best at step 200: 0.001. Best at step 100: 0.0005." in found.evidence
    table = rows(made).set_index(["step", "recipe"])["num_halves_best"]
    assert table[table > 0].to_dict() == {(100, "lr5e-4"): 2, (200, "lr1e-3"): 2}


def test_runs_of_other_passages_are_refused():
    made = swept({ORIGINAL: line()[:3]}, seeds=(0,))
    before = np.full(50, -10.0)
    made.run(400, 0, (before, before + 2), answers(0.5), recipe="lr2e-3")
    with pytest.raises(UserError, match="were asked other passages or items at step 400"):
        list(learning_rates(made.measured()))


def test_a_study_of_single_rates_says_nothing():
    made = swept({ORIGINAL: line()})
    made.settings.frontiers.clear()
    assert not list(learning_rates(made.measured()))
    assert not list(frontier_rows(made.measured()))


def test_the_rows_are_a_table(tmp_path):
    made = swept({(100, "original"): line(), ORIGINAL: line(), CHANGED: line(start=-2)})
    table = rows(made).astype({"num_halves_best": "Int64", "reference_step": "Int64"})
    write_table(tmp_path / "frontiers.parquet", table, FRONTIERS)
    assert len(table) == 12


NUM_DRAWN = 200


def invented_frontiers(generator: np.random.Generator) -> Frontiers:
    """Two states with one true frontier, of other rates; passages, items and seeds vary."""
    num_passages, num_items, seeds = 60, 200, range(3)
    of_passages, of_items = generator.normal(size=num_passages), generator.uniform(size=num_items)
    drawn = [bootstrap_weights(n, NUM_DRAWN, k) for k, n in enumerate((num_passages, num_items))]
    states = {}
    shared = 0.1 * generator.normal(size=3)
    for state, accuracies in (
        (State(400), (0.8, 0.7, 0.6, 0.5)),
        (State(400, VARIANT), (0.75, 0.65, 0.55, 0.45)),
    ):
        points = {}
        for seed in seeds:
            noise = generator.normal(size=(num_passages, 4)) * 0.3
            level = shared[seed] + 0.05 * generator.normal(size=4)
            knowledge = of_passages[:, None] + noise + level - 3 - 5 * np.array(accuracies)
            limits = of_items[:, None] + 0.1 * generator.normal(size=(num_items, 4))
            right = limits < np.array(accuracies)
            values = [
                np.vstack([each.mean(axis=0), weights @ each])
                for each, weights in zip((knowledge, right), drawn, strict=True)
            ]
            points[seed] = Points(values[1], values[0], "same", 0.0)
        states[state] = points
    floor, chance = np.full(NUM_DRAWN + 1, -10.0), np.full(NUM_DRAWN + 1, 0.25)
    areas = {
        state: {seed: _area(each, chance, floor) for seed, each in points.items()}
        for state, points in states.items()
    }
    measured = SimpleNamespace(settings=SimpleNamespace(confidence=0.95))
    whole = {state: SimpleNamespace(points=points) for state, points in states.items()}
    return Frontiers(measured, "baseline", RATES, whole, areas, (0.25, -10.0))


def test_of_one_true_frontier_the_interval_holds_zero_as_often_as_it_says():
    generator = np.random.default_rng(3)
    leads = [
        invented_frontiers(generator).lead(State(400, VARIANT), State(400)).knowledge
        for _ in range(200)
    ]
    missed = np.mean([not lead.low <= 0 <= lead.high for lead in leads])
    assert missed <= 0.08
    assert abs(np.mean([lead.value for lead in leads])) < 0.03
