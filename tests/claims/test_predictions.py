"""Predictions of a grid of runs: what is decided, between which runs, and how often wrongly."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ke_steps.claims.changes import mean_over_runs
from ke_steps.claims.findings import DECIDED, Part, decide
from ke_steps.claims.judging import claims as judge
from ke_steps.claims.measured import Measured
from ke_steps.claims.predictions import predictions
from ke_steps.formulas.bootstrap import bootstrap_weights
from ke_steps.formulas.uncertainty import Sampled
from ke_steps.settings.strata import strata_of
from tests.invented.phases import ARMS, STEPS, Course, grid, moved, nursery

ZIPF = [arm.family for arm in ARMS if arm.corpus == "zipf"]
UNIFORM = [arm.family for arm in ARMS if arm.corpus == "uniform"]
EVERY = [arm.family for arm in ARMS]
FALLS = {"name": "P1", "claim": "entropy_falls_after_saturation", "families": ZIPF}
MORE = "entropy_falls_more_after_saturation"
BY_DECAY = {"name": "P2", "claim": MORE, "families": EVERY, "setting": "weight_decay"}
RISES = {"name": "P3", "claim": "entropy_rises_before_saturation", "families": UNIFORM}
BY_RATIO = {"name": "P4", "claim": MORE, "families": EVERY, "setting": "intermediate_size"}
LEARNS = {"name": "P5", "claim": "knowledge_after_falls_after_saturation", "families": ZIPF}
FORGETS = {"name": "P6", "claim": "forgetting_rises_after_saturation", "families": ZIPF}
PREDICTED = [FALLS, BY_DECAY, RISES, BY_RATIO, LEARNS, FORGETS]
LOST = "zipf_decay1_md4_s3"


@pytest.fixture(scope="module")
def runs() -> list[Measured]:
    return grid(PREDICTED)


def claims(models: list[Measured]) -> list[dict[str, Any]]:
    return judge(models, between_runs=[])


def verdicts(models: list[Measured]) -> dict[str, str]:
    return {found.statement[:2]: found.verdict for _, found in predictions(models)}


def constant(value: float) -> Sampled:
    return Sampled(value, np.full(2, value), 0.0, "")


def test_every_prediction_gets_its_verdict(runs: list[Measured]) -> None:
    found = dict(zip((each["name"] for each in PREDICTED), predictions(runs), strict=True))
    got = {name: finding.verdict for name, (_, finding) in found.items()}
    assert got.pop("P4") == "inconclusive"  # m/d makes no difference here
    assert set(got.values()) == {"supported"}
    assert found["P1"][0] == ", ".join(ZIPF)
    falls, more = found["P1"][1], found["P2"][1]
    assert falls.num_points == 12
    assert falls.estimate.value == pytest.approx(-0.45, abs=0.03)
    assert "−0.205 nats in zipf_decay0.1_md4 (3 of 3)" in falls.evidence
    assert more.estimate.value == pytest.approx(-0.5, abs=0.01)
    assert more.estimate.high - more.estimate.low < 0.04  # what a seed does to all arms is in none
    assert "24 of 24 runs count." in more.evidence
    assert "between zipf_decay0.1_md4 and zipf_decay1_md4 (3 of 3)" in more.evidence
    assert found["P5"][1].recipe == "baseline"


def test_what_is_not_so_is_not_supported() -> None:
    told = [FALLS, RISES, BY_DECAY, LEARNS]
    told = [each | {"families": ["zipf_decay0.1_md4", "zipf_decay1_md4"]} for each in told]
    assert verdicts(grid(told, fall_by_decay=-1.0)) == {
        "P1": "not supported",  # with the larger decay H rises by 0.8
        "P3": "not supported",  # by less than the smallest rise of interest
        "P2": "not supported",
        "P5": "supported",
    }


def test_a_fall_must_be_one_by_both_measures() -> None:
    def only_absolute(seed: int) -> Course:
        noise = 0.01 * (seed - 4)
        return Course(entropy=moved(10, 0, -0.7 + noise), contribution=moved(9, 0, 0.3 + noise))

    arm = ARMS[4]
    changed = {f"{arm.family}_s{seed}": only_absolute(seed) for seed in (3, 4, 5)}
    runs = grid([FALLS | {"families": [arm.family]}], changed=changed)
    assert verdicts(runs) == {"P1": "not supported"}
    ((_, finding),) = predictions(runs)
    assert finding.estimate.value == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("course", "why"),
    [
        (
            Course(recall=dict.fromkeys(STEPS, 0.25)),
            "its recall at the end cannot be told from chance",
        ),
        (
            Course(learned={1500: (-6.0, 0.9), 6000: (-6.4, 0.6)}, entropy=moved(10, 0, -0.6)),
            "its K after is not known at step 500",
        ),
    ],
    ids=["no saturation", "no learning at saturation"],
)
def test_runs_that_do_not_count_are_named(course: Course, why: str) -> None:
    family = {"families": ["zipf_decay1_md4"]}
    runs = grid([FALLS | family, LEARNS | family], changed={LOST: course})
    (_, falls), (_, learns) = predictions(runs)
    assert f"2 of 3 runs count; left out, {LOST}: {why}." in learns.evidence
    assert learns.num_points == 2
    assert falls.num_points == (2 if "recall" in why else 3)


def test_one_run_alone_tests_nothing() -> None:
    lost = Course(recall=dict.fromkeys(STEPS, 0.25))
    families = {"families": ["zipf_decay1_md4", "zipf_decay0.1_md4"]}
    changed = {f"{family}_s{seed}": lost for family in families["families"] for seed in (3, 4)}
    runs = grid([FALLS | families, BY_DECAY | families], changed=changed)
    assert set(verdicts(runs).values()) == {"not tested"}


def test_predictions_are_corrected_among_themselves_alone() -> None:
    families = {"families": ["zipf_decay1_md4", "zipf_decay0.1_md4"]}
    predicted = (FALLS, BY_DECAY, RISES, LEARNS, FORGETS, LEARNS | {"name": "again"})
    runs = grid([each | families for each in predicted])
    table = pd.DataFrame(claims(runs))
    told = table[table["origin"] == "prediction"]
    assert len(told) == 6
    assert told["is_primary"].isna().all()
    order = np.argsort(told["p_value"])
    expected = np.maximum.accumulate(told["p_value"].to_numpy()[order] * np.arange(6, 0, -1))
    assert told["adjusted_p_value"].to_numpy()[order] == pytest.approx(np.minimum(expected, 1))
    none = runs[0].settings.model_copy(update={"predictions": []})
    without = pd.DataFrame(claims([dataclasses.replace(run, settings=none) for run in runs]))
    others = table[table["origin"] != "prediction"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, without, check_dtype=False)


def test_a_verdict_must_survive_the_correction() -> None:
    """P1 alone, decided at p between 0.01 and 0.05, is none among five."""
    noisy = {
        f"zipf_decay0.1_md4_s{seed}": Course(
            entropy=moved(10, 0, -0.4 + wide), contribution=moved(9, 0, -0.4 + wide)
        )
        for seed, wide in ((3, -0.13), (4, 0.0), (5, 0.13))
    }
    told = FALLS | {"families": ["zipf_decay0.1_md4"]}
    alone = pd.DataFrame(claims(grid([told], changed=noisy)))
    assert alone["verdict"].iloc[0] == "supported"
    assert 0.01 < alone["p_value"].iloc[0] < 0.05
    others = [told | {"name": f"P{number}"} for number in range(2, 6)]
    among = pd.DataFrame(claims(grid([told, *others], changed=noisy)))
    assert set(among["verdict"].iloc[:5]) == {"inconclusive"}
    assert "supported; corrected for 5 predictions (Holm)" in among["evidence"].iloc[0]


def test_the_mean_over_runs_is_students() -> None:
    values = [-0.5, -0.62, -0.71]
    found = mean_over_runs([[constant(value) for value in values]], 0.95)
    test = stats.ttest_1samp(values, 0)
    interval = test.confidence_interval(0.95)
    assert found[:3] == pytest.approx((np.mean(values), *interval))
    assert found.p_value(0, 0.95) == pytest.approx(test.pvalue)


def test_the_mean_over_pairs_is_that_of_a_linear_model_with_strata() -> None:
    generator = np.random.default_rng(0)
    strata = [list(generator.normal(level, 0.3, size=n)) for level, n in ((0, 3), (1, 3), (3, 2))]
    found = mean_over_runs([[constant(value) for value in each] for each in strata], 0.95)
    values = np.concatenate(strata)
    design = np.repeat(np.eye(3), [3, 3, 2], axis=0)
    effects, residual, *_ = np.linalg.lstsq(design, values)
    error = np.sqrt(residual[0] / (8 - 3) / 8)
    half = stats.t.ppf(0.975, 5) * error
    assert found.value == pytest.approx(float(design.mean(axis=0) @ effects))
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))


@pytest.mark.parametrize("sampling", [0.0, 1.0, 4.0])
def test_nothing_is_rarely_decided(sampling: float) -> None:
    """Three runs without a change but their spread, and a sampling error that all share."""
    generator = np.random.default_rng(0)
    weights = bootstrap_weights(200, 500, seed=0)
    decided = []
    for _ in range(1500):
        texts = sampling * generator.normal(size=200)
        changes = [
            Sampled(texts.mean() + run, weights @ texts + run, 0.0, "")
            for run in generator.normal(scale=0.1, size=3)
        ]
        found = mean_over_runs([changes], 0.95)
        decided.append(decide([Part(found)], 0.95).verdict in DECIDED)
    assert np.mean(decided) <= 0.065


def test_runs_are_compared_that_differ_in_one_setting_alone() -> None:
    settings: dict[str, dict[str, Any]] = {
        "a": nursery(0.1, 4, "zipf", 3),
        "b": nursery(1.0, 4, "zipf", 3),
        "c": nursery(1.0, 4, "zipf", 4),
        "d": nursery(0.0, 4, "zipf", 3),
        "wider": nursery(1.0, 16, "zipf", 3),
        "other": nursery(0.1, 4, "uniform", 3),
    }
    found = strata_of(list(settings), settings, "weight_decay")
    assert found == [{0.0: {3: "d"}, 0.1: {3: "a"}, 1.0: {3: "b", 4: "c"}}]
    assert strata_of(list(settings), settings, "intermediate_size") == [
        {256.0: {3: "b", 4: "c"}, 1024.0: {3: "wider"}}
    ]
