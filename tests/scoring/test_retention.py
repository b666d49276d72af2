"""Accuracies, chance and bits per token, with their intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ke_steps.scoring.retention import Answers, measured
from ke_steps.settings.learning import EvaluateRetention

SETTINGS = EvaluateRetention(
    tasks=["sciq", "piqa"],
    held_out_corpus="held_out",
    batch_size_sequences=1,
    num_bootstrap=300,
    confidence=0.9,
    seed=2,
)


def answers(correct: np.ndarray, num_choices: int | np.ndarray = 4) -> Answers:
    return Answers(correct, np.broadcast_to(num_choices, correct.shape), list(range(len(correct))))


def table(given: dict[str, Answers], held_out: np.ndarray) -> pd.DataFrame:
    rows = [each.row(0.9) for each in measured(given, held_out, "text", SETTINGS)]
    return pd.DataFrame(rows).set_index(["quantity", "task"])


def test_rows_and_intervals() -> None:
    generator = np.random.default_rng(0)
    correct = {"sciq": generator.random(40) < 0.7, "piqa": generator.random(40) < 0.4}
    held_out = generator.uniform(2, 4, 30)
    mixed = np.where(np.arange(40) < 10, 5, 2)
    given = {"sciq": answers(correct["sciq"]), "piqa": answers(correct["piqa"], mixed)}
    found = table(given, held_out)
    accuracy, chance = found.loc["accuracy"], found.loc["chance"]
    assert accuracy.index.tolist() == chance.index.tolist() == ["sciq", "piqa", "mean"]
    assert found["num_items"].tolist() == [40, 40, 80, 40, 40, 80, 30]
    for task, values in correct.items():
        assert accuracy.loc[task, "value"] == values.mean()
    assert accuracy.loc["mean", "value"] == pytest.approx(accuracy["value"].iloc[:2].mean())
    expected = (10 / 5 + 30 / 2) / 40
    assert chance["value"].tolist() == pytest.approx([0.25, expected, (0.25 + expected) / 2])
    assert chance[["low", "high"]].isna().all(axis=None)
    text = found.loc[("bits_per_token", "held_out")]
    assert text["value"] == pytest.approx(held_out.mean())
    sampled = found.drop(index="chance", level=0)
    assert (sampled["low"] < sampled["value"]).all()
    assert (sampled["value"] < sampled["high"]).all()
    # Tasks resampled independently: the interval of their mean is narrower than either's.
    width = accuracy["high"] - accuracy["low"]
    assert width["mean"] < 0.85 * min(width["sciq"], width["piqa"])


@pytest.mark.parametrize("is_right", [False, True])
def test_none_or_all_right_have_the_exact_binomial_interval(is_right: bool) -> None:
    given = {task: answers(np.full(30, is_right)) for task in ("sciq", "piqa")}
    found = table(given, np.full(5, 2.0)).loc["accuracy"]
    for task, num_items in (("sciq", 30), ("piqa", 30), ("mean", 60)):
        test = stats.binomtest(num_items * is_right, num_items)
        expected = test.proportion_ci(0.9, method="exact")
        row = found.loc[task]
        assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nearly_all_right_stay_below_one() -> None:
    found = table({"sciq": answers(np.arange(12) > 0)}, np.full(5, 2.0))
    assert found.loc[("accuracy", "sciq"), "high"] == 1
    assert found.loc[("bits_per_token", "held_out"), ["low", "high"]].tolist() == [2, 2]


def test_units_are_the_items_and_how_they_are_drawn() -> None:
    def units(**changes: object) -> dict[tuple[str, str], str]:
        right = np.arange(9) % 2 == 0
        given = {"sciq": answers(right), "piqa": answers(~right)._replace(**changes)}
        found = measured(given, np.ones(3), "text", SETTINGS)
        return {(each.quantity, each.task): each.found.units for each in found}

    first, other = units(), units(names=list("abcdefghi"))
    assert first == units(correct=np.ones(9))
    assert first["accuracy", "mean"] == first["chance", "mean"]
    assert len(set(first.values())) == 4
    assert {key for key in first if first[key] != other[key]} == {
        (quantity, task) for quantity in ("accuracy", "chance") for task in ("piqa", "mean")
    }
