"""Doses of entropy: recipes that differ in its weight alone, at one checkpoint, unit by unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

from ke_steps.artefacts.summary_schemas import DOSES
from ke_steps.claims.doses import dose_rows, doses_change_learning
from ke_steps.formulas.bootstrap import basic_interval, bootstrap_weights
from ke_steps.report.doses import dose_table
from ke_steps.summary.quantities import LEARNING_ENTROPY
from tests.invented.claims import LEVEL, NUM_BOOTSTRAP, Invented, answers, finding_of, passages

WEIGHTS = {"plain": 0.0, "low": 1.0, "high": 10.0}
KNOWLEDGE = "entropy_dose_raises_performance_after"
ACCURACY = "entropy_dose_raises_accuracy_after"


def study(
    effects: Mapping[str, float],
    accuracies: Mapping[str, float] | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    weights: Mapping[str, float] | None = None,
    noise: float = 0.02,
    asked: bool = True,
    steps: Sequence[int] = (100, 200),
) -> Invented:
    """Return a model that each recipe teaches so much beside what passages and seeds do."""
    generator = np.random.default_rng(3)
    found = Invented(doses={"plain": dict(weights or WEIGHTS)})
    of_passages = passages(generator, 0.0)
    of_seeds = generator.normal(size=max(seeds) + 1)
    for step in steps:
        found.accuracy(step, answers(0.8))
        for recipe, effect in effects.items():
            for seed in seeds:
                moved = effect + of_seeds[seed] + noise * generator.normal()
                own = 0.05 * generator.normal(size=len(of_passages))
                right = answers((accuracies or {}).get(recipe, 0.7)) if asked else None
                learned = (of_passages - 10, of_passages - 5 + moved + own)
                found.run(step, seed, learned, right, recipe=recipe)
    return found


@pytest.mark.parametrize(
    ("effects", "accuracies", "verdict"),
    [
        ((0.0, 0.15, 0.3), (0.7, 0.7, 0.7), "supported"),
        ((0.3, 0.15, 0.0), (0.7, 0.7, 0.7), "not supported"),
        ((0.0, 0.0, 0.0), (0.7, 0.7, 0.7), "inconclusive"),
        ((0.0, 0.15, 0.3), (0.7, 0.65, 0.6), "not supported"),
    ],
)
def test_what_is_true_is_decided(
    effects: Sequence[float], accuracies: Sequence[float], verdict: str
) -> None:
    invented = study(
        dict(zip(WEIGHTS, effects, strict=True)), dict(zip(WEIGHTS, accuracies, strict=True))
    )
    found = finding_of(invented, doses_change_learning, KNOWLEDGE)
    assert found.verdict == verdict
    assert found.estimate.value == pytest.approx(effects[2] - effects[0], abs=0.05)
    assert (found.num_points, found.recipe, found.unit) == (3, "high", "nats")
    # passages differ by 2 nats, seeds by 1: neither is in a paired difference
    assert found.estimate.high - found.estimate.low < 0.2


def test_old_knowledge_is_judged_with_what_is_new() -> None:
    gains = study(dict.fromkeys(WEIGHTS, 0.0), {"plain": 0.5, "low": 0.6, "high": 0.7})
    assert finding_of(gains, doses_change_learning, ACCURACY).verdict == "supported"
    unlearned = study(
        {"plain": 0.0, "low": -1, "high": -2}, {"plain": 0.5, "low": 0.6, "high": 0.7}
    )
    assert finding_of(unlearned, doses_change_learning, ACCURACY).verdict == "not supported"


def test_without_accuracy_nothing_is_known_to_be_unharmed() -> None:
    (found,) = doses_change_learning(study(WEIGHTS, asked=False).measured())
    assert (found.claim, found.verdict) == (KNOWLEDGE, "not tested")
    assert "P after: a change of unknown size" in found.evidence


def test_the_last_stage_that_two_recipes_share_is_judged() -> None:
    invented = study({"plain": 0.0, "low": 0.3})
    generator = np.random.default_rng(0)
    invented.accuracy(300, answers(0.8))
    for_one = passages(generator, -9.0), passages(generator, -8.0)
    invented.run(300, 0, for_one, answers(0.7), recipe="low")
    found = finding_of(invented, doses_change_learning, KNOWLEDGE)
    assert found.evidence.startswith("At step 200, by weight: ")
    assert found.num_points == 2
    alone = study({"plain": 0.0})
    assert not list(doses_change_learning(alone.measured()))
    assert not list(dose_rows(alone.measured()))


def test_a_row_is_a_direct_paired_bootstrap_against_the_smallest_dose() -> None:
    weights = {"negative": -2.0, "plain": 0.0, "high": 10.0}
    of_passages = {
        recipe: passages(np.random.default_rng(place), -5.0) for place, recipe in enumerate(weights)
    }
    invented = Invented(doses={"plain": weights})
    for recipe, values in of_passages.items():
        invented.run(100, 4, (values - 1, values), answers(0.7), recipe=recipe)
        invented.value(LEARNING_ENTROPY, weights[recipe] / 20, 100, recipe=recipe, seed=4)
    rows = pd.DataFrame(dose_rows(invented.measured()), columns=DOSES.names)
    assert set(rows["reference"]) == {"plain"}
    assert list(rows["recipe"].unique()) == ["negative", "high"]
    rows = rows.set_index(["recipe", "quantity"])
    row = rows.loc["high", "performance_after"]
    difference = of_passages["high"] - of_passages["plain"]
    resampled = bootstrap_weights(len(difference), NUM_BOOTSTRAP, seed=7) @ difference
    expected = basic_interval(difference.mean(), resampled, LEVEL)
    assert row["change"] == pytest.approx(difference.mean())
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    assert row["interval_kind"] == "bootstrap over passages, paired"
    assert (row["weight"], row["num_seeds"]) == (10.0, 1)
    entropy = rows.loc["negative", "learning_contribution_entropy"]
    assert entropy["change"] == pytest.approx(-0.1)
    assert (entropy["unit"], entropy["interval_kind"]) == ("points", "")


def test_the_report_has_a_row_per_dose_and_state() -> None:
    invented = study({"plain": 0.0, "low": 0.1, "high": 0.3})
    table = dose_table(pd.DataFrame(dose_rows(invented.measured()), columns=DOSES.names))
    assert table is not None
    assert table.columns[:4] == ["recipe", "weight", "against", "step"]
    assert [row[:4] for row in table.rows] == [
        [recipe, weight, "plain", step]
        for recipe, weight in (("low", "1"), ("high", "10"))
        for step in ("100", "200")
    ]
    assert table.rows[-1][table.columns.index("K after")].startswith("+0.")
    assert dose_table(pd.DataFrame(columns=DOSES.names)) is None
