"""Entropy falls, by every measure, on every corpus and in every layer: each verdict is reached."""

from __future__ import annotations

import pandas as pd
import pytest

from ke_steps.claims import entropy
from ke_steps.summary.quantities import ACTIVITIES
from tests.invented.claims import changed, claims_of, judge

COURSES = {
    "supported": lambda step, _: 22 - step / 1e4,
    "not supported": lambda step, _: 22 + step / 1e4,
    "inconclusive": lambda step, _: 22.0,
}

CASES = {
    "entropy_falls": ("entropy_nats", "model", COURSES),
    **{f"{name}_entropy_falls": (f"{name}_entropy_nats", "model", COURSES) for name in ACTIVITIES},
    "entropy_falls_on_c4": ("entropy_nats", "c4/model", COURSES),
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
}
"""Each claim's quantity and group, and its value for each verdict."""


@pytest.mark.parametrize("expected", ["supported", "not supported", "inconclusive"])
@pytest.mark.parametrize("claim", claims_of(entropy))
def test_each_claim_reaches_each_verdict(summary: pd.DataFrame, claim: str, expected: str) -> None:
    quantity, group, values = CASES[claim]
    assert judge(changed(summary, quantity, group, values[expected]), claim) == {claim: expected}
