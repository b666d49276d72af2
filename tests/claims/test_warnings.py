"""A study draws its own warnings, each where it applies and nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ke_steps.artefacts.summary_schemas import CHECKPOINTS, RUNS
from ke_steps.claims.warnings import warnings_of
from ke_steps.summary.agreements import Agreement
from ke_steps.summary.quantities import CONTRIBUTION_ENTROPY, DORMANT, UNIFORM
from tests.invented.claims import answers, judged, passages, stages

NO_CLAIMS = pd.DataFrame(columns=["model", "claim", "recipe", "decided_by_step"])
NO_RUNS = pd.DataFrame(columns=RUNS.names)
NO_CHECKPOINTS = pd.DataFrame(columns=CHECKPOINTS.names)


def warned(invented, claims=NO_CLAIMS, runs=NO_RUNS, checkpoints=NO_CHECKPOINTS):
    """Return the sentences by subject."""
    rows = warnings_of(
        [invented.measured()],
        claims,
        runs,
        checkpoints,
    )
    assert {row["model"] for row in rows} <= {"nursery"}
    return {row["subject"]: row["warning"] for row in rows}


def study(seeds=(0, 1, 2), **settings):
    return stages([-5.0, -5.2, -5.4, -5.6], seeds=seeds, **settings)


def test_a_sound_study_has_none():
    found = study()
    for step in (100, 200, 300, 400):
        found.value(UNIFORM, -11.0, step)
    assert warned(found) == {}


def test_k_before_below_the_uniform_distribution():
    found = study()
    for step in (100, 200, 300, 400):
        found.value(UNIFORM, -9.0, step)
    assert "−9.000 nats, at steps 100, 200, 300, 400" in warned(found)["K before"]


def test_p_before_at_chance():
    found = study()
    found.accuracy(500, answers(0.27))
    found.run(500, 0, (passages(np.random.default_rng(0), -10),) * 2, answers(0.3))
    assert "chance at step 500" in warned(found)["P before"]


@pytest.mark.parametrize("kind", ["resuscitate", "gauge", "function"])
@pytest.mark.parametrize(("dormant", "is_warned"), [(0.0, True), (0.02, False)])
def test_nothing_dormant_to_wake(kind, dormant, is_warned):
    found = study(variant_kinds={"boost": kind})
    found.value(DORMANT, dormant, 400)
    found.value(DORMANT, dormant, 400, variant="boost")
    assert ("resuscitation" in warned(found)) == is_warned


@pytest.mark.parametrize(
    ("seeds", "words"),
    [((0,), "1 seed: the error between seeds is not known"), ((0, 1), "2 seeds")],
)
def test_few_seeds(seeds, words):
    assert words in warned(study(seeds))["seeds"]


def test_one_stage_that_decides():
    found = stages([-5.0, -5.02, -5.0, -5.01, -5.9], noise=0.01)
    sentence = warned(found, claims=judged(found))["one stage decides"]
    assert "is supported by one stage: without step 500 it would not be" in sentence


def test_one_stage_that_decides_a_claim_without_a_recipe():
    """Among claims with one, what has none is null."""
    found = stages([-5.0, -5.02, -5.0, -5.01, -5.9], noise=0.01)
    claims = judged(found)
    decided = claims[claims["decided_by_step"].notna()].head(1)
    mixed = pd.concat([decided.assign(recipe=None), decided], ignore_index=True)
    sentences = [
        row["warning"]
        for row in warnings_of([found.measured()], mixed, NO_RUNS, NO_CHECKPOINTS)
        if row["subject"] == "one stage decides"
    ]
    without, with_recipe = sentences
    assert "” is supported" in without
    assert "” (baseline) is supported" in with_recipe


def runs_of(num_diverged, num_whole):
    run = {"model": "nursery", "step": 100, "variant": "original", "recipe": "baseline"}
    rows = [
        run | {"seed": seed, "diverged_at_step": 3 if seed < num_diverged else None}
        for seed in range(num_diverged + num_whole)
    ]
    return pd.DataFrame(rows, columns=RUNS.names)


def test_divergence():
    assert "divergence" not in warned(study(), runs=runs_of(0, 3))
    assert warned(study(), runs=runs_of(1, 2))["divergence"] == (
        "1 of 3 runs diverged and is left out of every mean, correlation and verdict: step 100"
        " original baseline seed 0 (at step 3)."
    )


def test_many_runs_that_diverged_are_counted():
    told = warned(study(), runs=runs_of(7, 1))["divergence"]
    assert told.startswith("7 of 8 runs diverged and are left out")
    assert told.count("original baseline seed") == 5
    assert told.endswith(" and 2 more, which the table of every run marks.")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (
            "nursery",
            "of nursery at steps 100, 200 hold identical weights: of one model at most one of them"
            " is what its step says.",
        ),
        ("twin", "of nursery at step 100 and of twin at step 200 hold identical weights."),
    ],
)
def test_checkpoints_with_the_same_weights(model, told):
    rows = [
        {"model": "nursery", "step": 100, "weights_sha256": "a", "same_weights_as": 200},
        {"model": model, "step": 200, "weights_sha256": "a", "same_weights_as": 100},
        {"model": "nursery", "step": 300, "weights_sha256": "b", "same_weights_as": None},
    ]
    checkpoints = pd.DataFrame(rows, columns=CHECKPOINTS.names)
    found = warnings_of([], NO_CLAIMS, NO_RUNS, checkpoints)
    assert {row["warning"] for row in found} == {f"The checkpoints {told}"}
    assert {row["model"] for row in found} == {"nursery", model}


@pytest.mark.parametrize(
    ("accuracy", "bits", "told"),
    [
        (
            -0.008,
            0.0003,
            "by −0.8 points (2 are judged otherwise), bits per token of 16 held-out"
            " sequences by +0.0003: within what is allowed, 1 point of P and 0.01 bits.",
        ),
        (
            0.012,
            0.0,
            "by +1.2 points (2 are judged otherwise), bits per token of 16 held-out"
            " sequences by +0.0000: more than what is allowed, 1 point of P and 0.01 bits: take"
            " fp32 (evaluate_retention.precision).",
        ),
        (
            0.0,
            -0.02,
            "by +0.0 points (2 are judged otherwise), bits per token of 16 held-out"
            " sequences by −0.0200: more than what is allowed, 1 point of P and 0.01 bits: take"
            " fp32 (evaluate_retention.precision).",
        ),
    ],
)
def test_retention_in_a_lower_precision_is_told_with_its_difference(accuracy, bits, told):
    differences = {
        "precision": "bf16",
        "num_items": 120,
        "num_other_answers": 2,
        "accuracy": accuracy,
        "num_sequences": 16,
        "bits_per_token": bits,
    }
    compared = [Agreement("nursery", 2000, differences)]
    (row,) = warnings_of([], NO_CLAIMS, NO_RUNS, NO_CHECKPOINTS, compared)
    assert (row["model"], row["subject"]) == ("nursery", "precision")
    assert row["warning"] == (
        "Retention is scored in bf16. Against fp32, at step 2,000, P of the first 120 items differs"
        f" {told}"
    )


@pytest.mark.parametrize(
    ("nats", "told"),
    [
        (-0.019, "−0.0190 nats: within what is allowed, 0.01 nats per layer."),
        (
            0.021,
            "+0.0210 nats: more than what is allowed, 0.01 nats per layer: take fp32"
            " (extract_coefficients.precision).",
        ),
    ],
)
def test_entropy_in_a_lower_precision_is_told_with_its_difference(nats, told):
    differences = {"precision": "tf32", "num_sequences": 16, "num_layers": 2, "entropy_nats": nats}
    compared = [Agreement("nursery", 2000, differences)]
    (row,) = warnings_of([], NO_CLAIMS, NO_RUNS, NO_CHECKPOINTS, compared)
    assert row["warning"] == (
        "Coefficients are measured in tf32. Against fp32, at step 2,000, H of the first 16"
        f" sequences differs by {told}"
    )


def test_an_entropy_that_nothing_defines():
    found = study()
    for step in (100, 200):
        for group in ("model", "layer 3"):
            measure = CONTRIBUTION_ENTROPY.of(group)
            found.value(measure, np.nan, step)
    assert warned(found)["not defined"] == (
        "The entropy H of contributions |c|·‖v‖ of nursery is not defined at steps 100, 200: no"
        " memory of layer 3 has any, as where an output projection is all zero."
    )
