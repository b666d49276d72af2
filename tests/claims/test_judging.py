"""All claims of a study: which are primary, and what the number of the others costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ke_steps.claims.findings import VERDICTS, Part, decide
from ke_steps.claims.judging import PRIMARY, claims
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate, holm
from tests.invented.claims import judged, stages

COURSE = [-5.0, -5.2, -5.4, -5.6, -5.8]


@pytest.fixture(scope="module")
def told() -> pd.DataFrame:
    return judged(stages(COURSE, accuracies=[0.7, 0.69, 0.68, 0.67, 0.66]))


def test_every_verdict_is_a_known_word(told):
    assert set(told["verdict"]) <= set(VERDICTS)
    assert set(told["origin"]) <= {"paper", "beyond"}


def test_primary_claims_are_not_corrected(told):
    primary = told[told["is_primary"]]
    assert set(primary["claim"]) <= PRIMARY
    assert primary["adjusted_p_value"].isna().all()


def test_the_others_are_corrected_by_holm(told):
    others = told[~told["is_primary"]]
    expected = holm(others["p_value"].to_numpy())
    assert others["adjusted_p_value"].to_numpy() == pytest.approx(expected, nan_ok=True)
    decided = others[others["verdict"].isin(["supported", "not supported"])]
    assert len(decided)
    assert (decided["adjusted_p_value"] < 0.05).all()


def test_what_only_its_number_undoes_is_inconclusive_and_said():
    """P after falls, with p below 0.05 by itself, in each of two models and so among six claims."""
    falling = stages(COURSE, accuracies=[0.7, 0.6975, 0.695, 0.6925, 0.69])
    told = pd.DataFrame(claims([falling.measured(), falling.measured()], between_runs=[]))
    undone = told[told["claim"] == "accuracy_after_falls"]
    assert list(undone["verdict"]) == ["inconclusive", "inconclusive"]
    assert (undone["p_value"] < 0.05).all()
    assert (undone["adjusted_p_value"] >= 0.05).all()
    assert undone["decided_by_step"].isna().all()
    words = r"By itself supported; corrected for 6 secondary judgements \(Holm\), p = 0\.05\d?\.$"
    assert undone["evidence"].str.contains(words).all()


def test_a_claim_of_several_parts_needs_all_and_fails_by_any():
    sure, hardly = Estimate(1.0, 0.5, 1.5), Estimate(0.1, -0.2, 0.4)
    against = Estimate(-1.0, -1.5, -0.5)
    assert decide([Part(sure)], 0.95).verdict == "supported"
    assert decide([Part(sure), Part(hardly)], 0.95).verdict == "inconclusive"
    assert decide([Part(sure), Part(hardly, above=-0.3)], 0.95).verdict == "supported"
    assert decide([Part(sure), Part(against)], 0.95).verdict == "not supported"
    assert decide([Part(sure), Part(UNKNOWN)], 0.95).verdict == "not tested"
    assert decide([], 0.95).verdict == "not tested"
    assert decide([Part(against)] * 3, 0.95).p_value == pytest.approx(3 * against.p_value(0, 0.95))


def test_several_tries_multiply_p():
    hardly = Estimate(1.0, 0.05, 1.95)
    one, two = (decide([Part(hardly)], 0.95, num_tries=number) for number in (1, 2))
    assert (one.verdict, two.verdict) == ("supported", "inconclusive")
    assert two.p_value == pytest.approx(2 * one.p_value)
    assert not np.isnan(one.p_value)
