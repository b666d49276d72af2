"""What falls and rises with entropy, ends best, is lost and is changed by learning."""

from __future__ import annotations

import pandas as pd
import pytest

from ke_steps.claims import learning
from ke_steps.claims.judging import claims
from ke_steps.summary.correlations import correlations
from tests.invented.claims import changed, claims_of, judge
from tests.invented.study import SETTINGS

WOBBLE = {0: 0.0, 100: 0.3, 400: -0.4, 800: 0.5, 1200: -0.5, 2000: 0.1}

SIGNS = {
    "supported": lambda step, old: old,
    "not supported": lambda step, old: -old,
    "inconclusive": lambda step, _: WOBBLE[step],
}

CASES = {
    "active_memories_change_most": ("memory_update_correlation_spearman", "model", SIGNS),
    "late_stages_concentrate_updates": ("memory_update_entropy_nats", "model", SIGNS),
    "acquisition_falls_with_entropy": ("acquisition", "all/all", SIGNS),
    "forgetting_rises_as_entropy_falls": ("forgetting", "mean", SIGNS),
    "performance_after_best_at_mid_stage": (
        "performance_after",
        "all/all",
        {
            "supported": lambda step, _: -6.0 if step == 800 else -7.0,
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
}
"""Each claim's quantity and group, and its value for each verdict."""


@pytest.mark.parametrize("expected", ["supported", "not supported", "inconclusive"])
@pytest.mark.parametrize("claim", claims_of(learning))
def test_each_claim_reaches_each_verdict(summary: pd.DataFrame, claim: str, expected: str) -> None:
    quantity, group, values = CASES[claim]
    assert judge(changed(summary, quantity, group, values[expected]), claim) == {claim: expected}


def test_a_bootstrap_that_is_sure_of_few_points_does_not_decide(summary: pd.DataFrame) -> None:
    pairs = pd.DataFrame(correlations(summary, SETTINGS)).assign(p_value=0.2)
    rows = {row["claim"]: row for row in claims(summary, pairs, SETTINGS)}
    row = rows["acquisition_falls_with_entropy"]
    assert row["low"] > 0
    assert row["verdict"] == "inconclusive"
