"""Which recipes of a study differ in learning rate alone."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ke_steps.settings.study import Study
from tests.invented.project import ROOT

SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
RECIPE = SMOKE["recipes"]["baseline"]


def frontiers(**recipes: dict[str, Any]) -> dict[str, dict[str, float]]:
    whole = {name: RECIPE | {"variants": None} | changes for name, changes in recipes.items()}
    return Study.model_validate(SMOKE | {"recipes": whole}).recipes_by("learning_rate")


def test_they_are_found_by_their_rates_ascending_and_called_after_the_first() -> None:
    found = frontiers(
        main={"learning_rate": 1e-3},
        fast={"learning_rate": 4e-3},
        slow={"learning_rate": 2e-4, "steps": [8]},  # what it is limited to does not matter
    )
    assert found == {"main": {"slow": 2e-4, "main": 1e-3, "fast": 4e-3}}
    assert list(found["main"]) == ["slow", "main", "fast"]


@pytest.mark.parametrize("other", [{"weight_decay": 0.5}, {"num_steps": 16}, {}])
def test_recipes_that_differ_otherwise_or_not_at_all_are_none(other: dict[str, Any]) -> None:
    rate = {"learning_rate": 1e-3}
    second = other | {"learning_rate": 2e-3} if other else rate
    assert frontiers(main=rate, other=second) == {}


def test_two_groups_stand_apart_and_a_rate_counts_once() -> None:
    long = {"weight_decay": 0.5}
    found = frontiers(
        main={"learning_rate": 1e-3},
        same={"learning_rate": 1e-3},
        fast={"learning_rate": 2e-3},
        long=long | {"learning_rate": 1e-3},
        long_fast=long | {"learning_rate": 2e-3},
    )
    assert found == {
        "main": {"main": 1e-3, "fast": 2e-3},
        "long": {"long": 1e-3, "long_fast": 2e-3},
    }
