"""What panels share: the main recipe of a model, and indices spread over a range."""

from __future__ import annotations

import pandas as pd

from ke_steps.figures.panels import first_recipes
from ke_steps.summary.points import spread_indices


def test_the_main_recipe_is_the_first_of_the_config_that_was_run() -> None:
    rows = pd.DataFrame(
        [("m", "late"), ("m", "early"), ("n", "late"), ("n", None), ("o", None)],
        columns=["model", "recipe"],
    )
    assert first_recipes(rows, ["early", "late"]) == [("m", "early"), ("n", "late")]
    assert first_recipes(rows, ["late", "early"]) == [("m", "late"), ("n", "late")]


def test_spread_indices_keep_both_ends() -> None:
    assert spread_indices(3, 4) == [0, 1, 2]
    assert spread_indices(16, 4) == [0, 5, 10, 15]
    assert spread_indices(1, 4) == [0]
