"""Resuscitation is judged by what it leaves, and against the best temperature."""

from __future__ import annotations

import pandas as pd
import pytest

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import CORRELATIONS, SUMMARY
from ke_steps.claims import resuscitation
from ke_steps.claims.judging import claims
from tests.invented.claims import changed, claims_of, judge
from tests.invented.study import SyntheticStudy, settings_of

CASES = {
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
"""Each claim's quantity and group, and its value for each verdict."""

ALONE = [claim for claim in claims_of(resuscitation) if "temperature" not in claim]
"""The claims that need no temperature beside them."""


def constant(value: float):
    return lambda step, _: value


def ending_at(summary: pd.DataFrame, variant: str, performance: float, accuracy: float):
    """Return a summary in which a variant ends at the same K and P at every stage."""
    summary = changed(summary, "performance_after", "all/all", lambda step, _: performance, variant)
    return changed(summary, "accuracy_after", "mean", lambda step, _: accuracy, variant)


@pytest.mark.parametrize("expected", ["supported", "not supported", "inconclusive"])
@pytest.mark.parametrize("claim", ALONE)
def test_each_claim_reaches_each_verdict(summary: pd.DataFrame, claim: str, expected: str) -> None:
    quantity, group, values = CASES[claim]
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


def _findings(summary: pd.DataFrame, **kinds: str) -> pd.DataFrame:
    settings = settings_of(tuple(summary["variant"].unique()[1:]))
    settings = settings.model_copy(update={"variant_kinds": settings.variant_kinds | kinds})
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
@pytest.mark.parametrize("kind", ["temper_attention", "rescale_queries"])
def test_resuscitation_is_compared_with_the_best_temperature_where_both_are(
    sweep: pd.DataFrame, temperature_acquires: float, ends: float, expected: str, kind: str
) -> None:
    for name, acquired, end in (
        ("boost_p50_q1", 0.5, -6.0),
        ("temperature_2", temperature_acquires, ends),
        ("temperature_3", -0.5, -9.0),
    ):
        sweep = changed(sweep, "acquisition", "all/all", constant(acquired), name)
        sweep = changed(sweep, "performance_after", "all/all", constant(end), name)
    findings = _findings(sweep, temperature_2=kind).set_index("claim")
    found = findings.loc["resuscitation_improves_acquisition_more_than_temperature"]
    assert (found["variant"], found["recipe"]) == ("boost_p50_q1", "baseline")
    assert found["verdict"] == expected
    assert "step 1,200" in found["evidence"]
    assert "as temperature_2" in found["evidence"]
