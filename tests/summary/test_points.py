"""Questions to the summary and its estimates: which rows a measure names, which are points."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from ke_steps.summary.points import (
    by_corpus,
    by_layer,
    by_stage,
    mark_trained,
    points,
    rows_of,
)
from ke_steps.summary.quantities import (
    ACCURACY_BEFORE,
    ACQUISITION,
    BEFORE_LEARNING,
    ENTROPY,
    FORGETTING,
    KNOWLEDGE_BEFORE,
    OUTCOMES,
    Measure,
)

COLUMNS = [
    "model",
    "step",
    "variant",
    "recipe",
    "seed",
    "group",
    "quantity",
    "value",
    "low",
    "high",
]
POINT = ["step", "is_trained", "value", "low", "high"]
ROWS = [
    ("m", 8, "original", "short", 0, "mean", "forgetting", 0.3, 0.1, 0.6),
    ("m", 0, "original", "short", 0, "mean", "forgetting", 0.3, 0.25, 0.4),
    ("m", 9, "original", "short", 0, "mean", "forgetting", math.nan, math.nan, math.nan),
    ("m", 8, "original", "long", 0, "mean", "forgetting", 7.0, 7.0, 7.0),
    ("m", 8, "woken", "short", 0, "mean", "forgetting", 7.0, 7.0, 7.0),
    ("n", 8, "original", "short", 0, "mean", "forgetting", 7.0, 7.0, 7.0),
    ("m", 8, "original", "short", 0, "sciq", "forgetting", 7.0, 7.0, 7.0),
    ("m", 8, "original", "short", 0, "mean", "accuracy_after", 7.0, 7.0, 7.0),
    ("m", 8, "original", None, None, "mean", "forgetting", 7.0, 7.0, 7.0),
]


@pytest.fixture
def forgotten() -> pd.DataFrame:
    return mark_trained(pd.DataFrame(ROWS, columns=COLUMNS), ["m"])


def test_points_are_those_of_one_model_variant_recipe_and_group(forgotten) -> None:
    found = points(forgotten, "m", FORGETTING, "short")
    expected = [
        (0, False, 0.3, 0.25, 0.4),
        (8, True, 0.3, 0.1, 0.6),
        (9, True, math.nan, math.nan, math.nan),
    ]
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected, columns=POINT))


def test_stages_are_trained_originals(forgotten) -> None:
    assert by_stage(forgotten, "m", FORGETTING, "short").dropna().to_dict() == {
        8: pytest.approx(0.3)
    }


def test_a_step_that_is_but_a_label_is_trained(forgotten) -> None:
    """0 of a model whose source tells no steps apart."""
    assert mark_trained(forgotten, ["n"])["is_trained"].all()
    stages = by_stage(mark_trained(forgotten, []), "m", FORGETTING, "short").dropna()
    assert list(stages.index) == [0, 8]


def test_no_recipe_is_what_was_measured_without_one(forgotten) -> None:
    assert rows_of(forgotten, FORGETTING).index.tolist() == [len(ROWS) - 1]
    assert points(forgotten, "m", FORGETTING)["value"].tolist() == [7.0]


def test_what_was_not_measured_has_no_points(forgotten) -> None:
    for nothing in (points(forgotten, "m", ENTROPY), points(forgotten, "n", FORGETTING, "long")):
        assert nothing.empty
        assert list(nothing) == POINT


def test_every_named_measure_is_one_of_the_summary(summary: pd.DataFrame) -> None:
    for measure in (*BEFORE_LEARNING, KNOWLEDGE_BEFORE, *OUTCOMES):
        recipe = None if measure in BEFORE_LEARNING else "baseline"
        rows = rows_of(summary, measure, recipe)
        assert set(rows["step"]) == {0, 100, 400, 800, 1200, 2000}
        assert set(rows["unit"]) == {measure.unit}
        other = "baseline" if recipe is None else None
        assert rows_of(summary, measure, other).empty
    assert ACCURACY_BEFORE.label == "P before"
    assert len(rows_of(summary, ACQUISITION.of("once/semantic"), "baseline"))


def test_layers_and_corpora_are_read_from_the_groups(summary: pd.DataFrame) -> None:
    layers = {number: Measure("entropy_nats", f"layer {number}") for number in range(4)}
    assert by_layer(summary, "entropy_nats") == layers
    assert by_corpus(summary, "entropy_nats") == {
        "": ENTROPY,
        "c4": Measure("entropy_nats", "c4/model"),
    }
    assert by_layer(summary, "acquisition") == by_corpus(summary, "acquisition") == {}
