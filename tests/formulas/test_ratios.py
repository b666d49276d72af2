"""Acquisition and forgetting are relative changes."""

from __future__ import annotations

import math

import pytest

from ke_steps.formulas.ratios import acquisition, forgetting, forgetting_above_chance


def test_acquisition_and_forgetting_are_relative_reductions() -> None:
    assert acquisition(-8.0, -6.0) == pytest.approx(0.25)
    assert acquisition(-8.0, -10.0) == pytest.approx(-0.25)
    assert forgetting([0.8, 0.5], [0.6, 0.6]) == pytest.approx([0.25, -0.2])
    assert math.isnan(forgetting(0.0, 0.5))


def test_forgetting_is_the_relative_loss():
    assert forgetting(0.5, 0.4) == pytest.approx(0.2)


def test_forgetting_above_chance_is_a_share_of_what_was_known():
    found = forgetting_above_chance(
        [0.9, 0.9, 0.5, 0.2], [0.5, 0.7, 0.6, 0.1], [0.5, 0.5, 0.5, 0.25]
    )
    assert found == pytest.approx([1.0, 0.5, math.nan, math.nan], nan_ok=True)
