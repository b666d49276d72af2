"""Rankings of memories between checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import RANKINGS
from ke_steps.summary.rankings import change, pairs, rankings_of
from tests.invented.study import SyntheticStudy


def test_each_checkpoint_is_compared_with_the_next_and_the_first_trained_with_the_last() -> None:
    steps = [0, 10, 20, 30]
    assert pairs(steps, has_untrained=True) == [(0, 10), (10, 20), (20, 30), (10, 30)]
    assert pairs(steps, has_untrained=False) == [(0, 10), (10, 20), (20, 30), (0, 30)]
    assert pairs([10, 20], has_untrained=False) == [(10, 20)]
    assert pairs([0, 20], has_untrained=True) == [(0, 20)]
    assert pairs([20], has_untrained=False) == []


def test_changes_of_a_ranking_in_closed_form() -> None:
    activity = np.arange(1.0, 21)
    same = change(activity, activity**3, 0.1)
    assert same == (pytest.approx(1), 1, 1)
    reversed_ = change(activity, -activity, 0.1)
    assert reversed_ == (pytest.approx(-1), 0, 0)
    swapped = activity.copy()
    swapped[[0, 19]] = swapped[[19, 0]]  # d = 19 twice: 1 - 6 Σ d² / (n (n² - 1))
    expected = 1 - 6 * 2 * 19**2 / (20 * (20**2 - 1))
    assert change(activity, swapped, 0.1) == (pytest.approx(expected), 0.5, 0.5)
    assert change(activity, swapped, 0.01) == (pytest.approx(expected), 0, 0)


def test_kept_sets_equal_a_brute_force() -> None:
    generator = np.random.default_rng(5)
    before, after = generator.random(50), generator.random(50)
    found = change(before, after, 0.2)

    def extremes(activity: np.ndarray, sign: int) -> set[int]:
        return set(sorted(range(50), key=lambda memory: sign * activity[memory])[:10])

    assert found.most_active_kept == len(extremes(before, -1) & extremes(after, -1)) / 10
    assert found.least_active_kept == len(extremes(before, 1) & extremes(after, 1)) / 10


def test_layers_come_before_their_mean() -> None:
    up = np.arange(10.0)
    activities = {"m": {5: np.stack([up, up]), 9: np.stack([up, -up])}}
    table = rankings_of(activities, 0.1, [])
    assert table["layer"].tolist() == [0, 1, pd.NA]
    assert table["spearman"].tolist() == pytest.approx([1, -1, 0])
    assert table["most_active_kept"].tolist() == [1, 0, 0.5]


def test_rankings_of_a_study_are_of_its_original_checkpoints(tmp_path: Path) -> None:
    study = SyntheticStudy(tmp_path, models=("a", "b"), steps=(0, 100, 400), is_plain=True)
    table = read_frame(study.build()["rankings"], RANKINGS)
    assert len(table) == 2 * 2 * (study.num_layers + 1)
    assert not table["spearman"].isna().any()
