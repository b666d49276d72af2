"""The paper's claims: every verdict from constructed data, each reached by its own rule."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ke_steps.artefacts import summary_schemas
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import CORRELATIONS, SUMMARY
from ke_steps.claims.entropy import (
    entropy_falls,
    entropy_falls_by_every_measure,
    entropy_falls_on_every_corpus,
    every_layer_falls,
    last_layer_falls_most,
)
from ke_steps.claims.estimates import Estimate
from ke_steps.claims.findings import Measured, verdict
from ke_steps.claims.judging import CLAIMS, claims
from ke_steps.claims.learning import (
    acquisition_falls,
    active_memories_change_most,
    forgetting_rises,
    late_stages_concentrate_updates,
    mid_stage_ends_best,
    once_knowledge_is_lost,
)
from ke_steps.claims.resuscitation import (
    resuscitation_beats_temperature,
    resuscitation_improves_acquisition,
    resuscitation_lowers_forgetting,
    resuscitation_raises_entropy,
)
from ke_steps.summary.correlations import correlations
from ke_steps.summary.quantities import ACTIVITIES, ENTROPY, OUTCOMES
from tests.invented.study import SETTINGS, SyntheticStudy, settings_of


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([(1, 0.5, 1.5), (2, 1, 3)], "supported"),
        ([(1, 0.5, 1.5), (-1, -2, -0.1)], "not supported"),
        ([(1, 0.5, 1.5), (0, -1, 1)], "inconclusive"),
        ([(math.nan, math.nan, math.nan)], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_one_rule_for_every_verdict(
    intervals: list[tuple[float, float, float]], expected: str
) -> None:
    assert verdict([Estimate(*interval) for interval in intervals]) == expected


PAIRED = {"acquisition_falls_with_entropy", "forgetting_rises_as_entropy_falls"}


def judge(summary: pd.DataFrame, *claims: str) -> dict[str, str]:
    """Return the verdicts of claims, each by its own rule alone: all of them take a second."""
    needed = [m.quantity for m in (ENTROPY, *OUTCOMES)] if set(claims) & PAIRED else []
    measured = summary[summary["quantity"].isin(needed)]
    pairs = pd.DataFrame(correlations(measured, SETTINGS), columns=CORRELATIONS.names)
    found = Measured.of("nursery", summary, pairs, SETTINGS)
    return {
        finding.claim: finding.verdict
        for decide in dict.fromkeys(DECIDERS[claim] for claim in claims)
        for finding in decide(found)
        if finding.claim in claims
    }


def changed(
    summary: pd.DataFrame, quantity: str, group: str, value: object, variant: str = "original"
) -> pd.DataFrame:
    """Return a summary in which a quantity is ``value(step, old)``; intervals keep their width."""
    table = summary.copy()
    rows = (
        (table["quantity"] == quantity) & (table["group"] == group) & (table["variant"] == variant)
    )
    steps, old = table.loc[rows, "step"], table.loc[rows, "value"]
    new = [value(step, was) for step, was in zip(steps, old, strict=True)]
    shift = np.array(new) - old.to_numpy()
    for column in ("value", "low", "high"):
        table.loc[rows, column] += shift
    return table


def hump(step: int, _: float) -> float:
    return -6.0 if step == 800 else -7.0


WOBBLE = {0: 0.0, 100: 0.3, 400: -0.4, 800: 0.5, 1200: -0.5, 2000: 0.1}

COURSES = {
    "supported": lambda step, _: 22 - step / 1e4,
    "not supported": lambda step, _: 22 + step / 1e4,
    "inconclusive": lambda step, _: 22.0,
}
DECIDERS = {
    **dict.fromkeys(
        (f"{name}_entropy_falls" for name in ACTIVITIES), entropy_falls_by_every_measure
    ),
    "entropy_falls": entropy_falls,
    "entropy_falls_on_c4": entropy_falls_on_every_corpus,
    "every_layer_falls": every_layer_falls,
    "last_layer_falls_most": last_layer_falls_most,
    "acquisition_falls_with_entropy": acquisition_falls,
    "forgetting_rises_as_entropy_falls": forgetting_rises,
    "performance_after_best_at_mid_stage": mid_stage_ends_best,
    "accuracy_after_best_at_mid_stage": mid_stage_ends_best,
    "once_knowledge_is_lost": once_knowledge_is_lost,
    "active_memories_change_most": active_memories_change_most,
    "late_stages_concentrate_updates": late_stages_concentrate_updates,
    "resuscitation_raises_entropy": resuscitation_raises_entropy,
    "resuscitation_improves_acquisition": resuscitation_improves_acquisition,
    "resuscitation_lowers_forgetting": resuscitation_lowers_forgetting,
    "resuscitation_improves_acquisition_more_than_temperature": resuscitation_beats_temperature,
    "resuscitation_lowers_forgetting_more_than_temperature": resuscitation_beats_temperature,
}
CASES = {
    "entropy_falls": ("entropy_nats", "model", COURSES),
    **{f"{name}_entropy_falls": (f"{name}_entropy_nats", "model", COURSES) for name in ACTIVITIES},
    "entropy_falls_on_c4": ("entropy_nats", "c4/model", COURSES),
    "active_memories_change_most": (
        "memory_update_correlation_spearman",
        "model",
        {
            "supported": lambda step, old: old,
            "not supported": lambda step, old: -old,
            "inconclusive": lambda step, _: WOBBLE[step],
        },
    ),
    "late_stages_concentrate_updates": (
        "memory_update_entropy_nats",
        "model",
        {
            "supported": lambda step, old: old,
            "not supported": lambda step, old: -old,
            "inconclusive": lambda step, _: WOBBLE[step],
        },
    ),
    "every_layer_falls": (
        "entropy_nats",
        "layer 1",
        {
            "supported": lambda step, _: 5 - step / 1e4,
            "not supported": lambda step, _: 5 + step / 1e4,
            "inconclusive": lambda step, _: 5.0,
        },
    ),
    "last_layer_falls_most": (
        "entropy_nats",
        "layer 3",
        {
            "supported": lambda step, _: 5 - step / 1e3,
            "not supported": lambda step, _: 5 + step / 1e3,
            "inconclusive": lambda step, _: 5.5 - 0.04 * (step > 100),
        },
    ),
    "acquisition_falls_with_entropy": (
        "acquisition",
        "all/all",
        {
            "supported": lambda step, old: old,
            "not supported": lambda step, old: -old,
            "inconclusive": lambda step, _: WOBBLE[step],
        },
    ),
    "forgetting_rises_as_entropy_falls": (
        "forgetting",
        "mean",
        {
            "supported": lambda step, old: old,
            "not supported": lambda step, old: -old,
            "inconclusive": lambda step, _: WOBBLE[step],
        },
    ),
    "performance_after_best_at_mid_stage": (
        "performance_after",
        "all/all",
        {
            "supported": hump,
            "not supported": lambda step, _: -7 + step / 1e3,
            "inconclusive": lambda step, _: -7.0,
        },
    ),
    "accuracy_after_best_at_mid_stage": (
        "accuracy_after",
        "mean",
        {
            "supported": lambda step, _: 0.7 if step == 400 else 0.5,
            "not supported": lambda step, _: 0.7 if step == 100 else 0.5,
            "inconclusive": lambda step, _: 0.5,
        },
    ),
    "once_knowledge_is_lost": (
        "acquisition",
        "once/all",
        {
            "supported": lambda step, _: -0.2,
            "not supported": lambda step, _: 0.2,
            "inconclusive": lambda step, _: 0.0,
        },
    ),
    "resuscitation_raises_entropy": (
        "entropy_nats",
        "model",
        {
            "supported": lambda step, _: 20.0,
            "not supported": lambda step, _: 23.0,
            "inconclusive": lambda step, _: 21.755,
        },
    ),
    "resuscitation_improves_acquisition": (
        "acquisition",
        "all/all",
        {
            "supported": lambda step, _: 0.0,
            "not supported": lambda step, _: 0.9,
            "inconclusive": lambda step, _: 0.153,
        },
    ),
    "resuscitation_lowers_forgetting": (
        "forgetting",
        "mean",
        {
            "supported": lambda step, _: 0.9,
            "not supported": lambda step, _: 0.0,
            "inconclusive": lambda step, _: 0.155,
        },
    ),
}


def ending_at(summary: pd.DataFrame, variant: str, performance: float, accuracy: float):
    """Return a summary in which a variant ends at the same K and P at every stage."""
    summary = changed(summary, "performance_after", "all/all", lambda step, _: performance, variant)
    return changed(summary, "accuracy_after", "mean", lambda step, _: accuracy, variant)


@pytest.mark.parametrize("expected", ["supported", "not supported", "inconclusive"])
@pytest.mark.parametrize("claim", CASES)
def test_each_claim_reaches_each_verdict(summary: pd.DataFrame, claim: str, expected: str) -> None:
    quantity, group, values = CASES[claim]
    if claim.startswith("resuscitation"):
        for variant in ("original", "boost_p50_q2"):
            summary = ending_at(summary, variant, -6.0, 0.6)
    assert judge(changed(summary, quantity, group, values[expected]), claim) == {claim: expected}


@pytest.mark.parametrize("damaged", [True, False])
def test_a_damaged_model_that_regains_much_is_no_support(summary: pd.DataFrame, damaged: bool):
    summary = changed(summary, "acquisition", "all/all", lambda step, _: 0.9, "boost_p50_q2")
    summary = changed(summary, "forgetting", "mean", lambda step, _: -0.9, "boost_p50_q2")
    summary = ending_at(summary, "original", -6.0, 0.6)
    summary = ending_at(summary, "boost_p50_q2", *((-9.0, 0.2) if damaged else (-6.0, 0.6)))
    names = ("resuscitation_improves_acquisition", "resuscitation_lowers_forgetting")
    expected = "not supported" if damaged else "supported"
    assert judge(summary, *names) == dict.fromkeys(names, expected)


def test_a_single_checkpoint_leaves_trends_inconclusive(tmp_path: Path) -> None:
    tables = SyntheticStudy(tmp_path, steps=(2000,), seeds=(0,), variants={}).build()
    findings = read_frame(tables["claims"], summary_schemas.CLAIMS)
    verdicts = dict(zip(findings["claim"], findings["verdict"], strict=True))
    assert verdicts.pop("once_knowledge_is_lost") == "supported"
    assert set(verdicts.values()) == {"inconclusive"}
    assert findings["evidence"].str.len().min() > 10


def test_a_bootstrap_that_is_sure_of_few_points_does_not_decide(summary: pd.DataFrame) -> None:
    pairs = pd.DataFrame(correlations(summary, SETTINGS)).assign(p_value=0.2)
    rows = {row["claim"]: row for row in claims(summary, pairs, SETTINGS)}
    row = rows["acquisition_falls_with_entropy"]
    assert row["low"] > 0
    assert row["verdict"] == "inconclusive"


def test_claims_carry_model_recipe_variant_and_unit(tables: dict[str, Path]) -> None:
    findings = read_frame(tables["claims"], summary_schemas.CLAIMS)
    assert set(findings["claim"]) == set(CASES)
    assert set(findings["model"]) == {"nursery"}
    woken = findings[findings["claim"].str.startswith("resuscitation")]
    assert set(woken["variant"]) == {"boost_p50_q2"}
    trends = findings[findings["claim"].str.contains("with_entropy|as_entropy")]
    assert set(trends["recipe"]) == {"baseline"}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return a study with two resuscitations, two temperatures, and a recipe for originals only."""

    class Sweep(SyntheticStudy):
        def _write_run(self, files, run, *values) -> None:
            if "/lr1e-4/" not in run or "/original/" in run:
                super()._write_run(files, run, *values)

    variants = {
        "boost_p50_q1": (1200, 2000),
        "boost_p50_q2": (2000,),
        "temperature_2": (1200,),
        "temperature_3": (1200,),
    }
    root = tmp_path_factory.mktemp("sweep")
    study = Sweep(root, variants=variants, recipes=("baseline", "lr1e-4"), is_plain=True)
    return read_frame(study.build()["summary"], SUMMARY)


def _findings(summary: pd.DataFrame) -> pd.DataFrame:
    settings = settings_of(tuple(summary["variant"].unique()[1:]))
    pairs = pd.DataFrame(columns=CORRELATIONS.names)
    return pd.DataFrame(claims(summary, pairs, settings))


def test_temperatures_are_not_judged_as_resuscitation(sweep: pd.DataFrame) -> None:
    findings = _findings(sweep)
    woken = findings[findings["claim"] == "resuscitation_improves_acquisition"]
    # the recipe that no variant learned with says nothing
    assert set(zip(woken["variant"], woken["recipe"], strict=True)) == {
        ("boost_p50_q1", "baseline"),
        ("boost_p50_q2", "baseline"),
    }
    assert "nan" not in " ".join(findings["evidence"])


@pytest.mark.parametrize(
    ("temperature_acquires", "ends", "expected"),
    [
        (0.0, -6.0, "supported"),
        (0.9, -6.0, "not supported"),
        (0.0, -3.0, "not supported"),
    ],
)
def test_resuscitation_is_compared_with_the_best_temperature_where_both_are(
    sweep: pd.DataFrame, temperature_acquires: float, ends: float, expected: str
) -> None:
    for name, acquired, end in (
        ("boost_p50_q1", 0.5, -6.0),
        ("temperature_2", temperature_acquires, ends),
        ("temperature_3", -0.5, -9.0),
    ):
        sweep = changed(sweep, "acquisition", "all/all", constant(acquired), name)
        sweep = changed(sweep, "performance_after", "all/all", constant(end), name)
    findings = _findings(sweep).set_index("claim")
    found = findings.loc["resuscitation_improves_acquisition_more_than_temperature"]
    assert (found["variant"], found["recipe"]) == ("boost_p50_q1", "baseline")
    assert found["verdict"] == expected
    assert "step 1,200" in found["evidence"]
    assert "as temperature_2" in found["evidence"]


def constant(value: float):
    return lambda step, _: value


def test_a_recipe_at_few_stages_has_no_trend(tmp_path: Path) -> None:
    class Limited(SyntheticStudy):
        def _write_run(self, files, run, *values) -> None:
            if "/lr1e-4/" not in run or "/step2000/" in run:
                super()._write_run(files, run, *values)

    study = Limited(tmp_path, variants={}, recipes=("baseline", "lr1e-4"))
    findings = read_frame(study.build()["claims"], summary_schemas.CLAIMS)
    limited = findings[(findings["recipe"] == "lr1e-4") & findings["variant"].isna()]
    assert dict(zip(limited["claim"], limited["num_points"], strict=True)) == {
        "acquisition_falls_with_entropy": 1,
        "forgetting_rises_as_entropy_falls": 1,
        "performance_after_best_at_mid_stage": 1,
        "accuracy_after_best_at_mid_stage": 1,
        "once_knowledge_is_lost": 1,
        "active_memories_change_most": 1,
        "late_stages_concentrate_updates": 1,
        "resuscitation_improves_acquisition": 0,
        "resuscitation_lowers_forgetting": 0,
    }
    assert "nan" not in " ".join(limited["evidence"])


def test_every_claim_has_its_own_rule() -> None:
    assert set(DECIDERS.values()) == set(CLAIMS)
