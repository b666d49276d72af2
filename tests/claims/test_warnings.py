"""A study draws its own warnings, each where it applies and nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ke_steps.artefacts.summary_schemas import RUNS
from ke_steps.claims.warnings import warnings_of
from ke_steps.summary.quantities import DORMANT, UNIFORM
from tests.invented.claims import answers, judged, passages, stages


def warned(invented, claims=None, runs=None):
    """Return the sentences by subject."""
    no_claims = pd.DataFrame(columns=["model", "claim", "recipe", "decided_by_step"])
    no_runs = pd.DataFrame(columns=RUNS.names)
    rows = warnings_of(
        [invented.measured()],
        no_claims if claims is None else claims,
        no_runs if runs is None else runs,
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
        for row in warnings_of([found.measured()], mixed, pd.DataFrame(columns=RUNS.names))
        if row["subject"] == "one stage decides"
    ]
    without, with_recipe = sentences
    assert "” is supported" in without
    assert "” (baseline) is supported" in with_recipe


def test_divergence():
    run = {"model": "nursery", "step": 100, "variant": "original", "recipe": "baseline", "seed": 0}
    runs = pd.DataFrame([run | {"diverged_at_step": 3}], columns=RUNS.names)
    assert warned(study(), runs=runs)["divergence"].startswith("1 run diverged and is in no mean")
