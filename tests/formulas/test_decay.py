"""Decay: definitions against plain loops."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ke_steps.formulas.decay import follow, measure, shares_left
from ke_steps.job.errors import UserError
from tests.invented.decay import NUM_STEPS, STEPS, build_schedule, build_scores, fading
from tests.invented.tables import probe_scores


def test_following_equals_plain_loops():
    generator = np.random.default_rng(0)
    steps = np.array(STEPS)
    values = generator.normal(size=(5, len(steps)))
    values[0] = -steps
    times = [20, 40, 60]
    effectivity, peaks, retained, gains = follow(values, steps, times)
    for probe in range(5):
        at = dict(zip(STEPS, values[probe], strict=True))
        for number, start in enumerate(times):
            end = times[number + 1] if number < 2 else NUM_STEPS + 1
            window = [step for step in STEPS if start <= step <= start + 49 and step < end]
            peak = max(window, key=at.get)
            assert effectivity[probe, number] == at[peak] - at[start - 1]
        assert peaks[probe] == peak
        gain = at[peak] - at[times[0] - 1]
        assert gains[probe] == gain
        expected = [(at[step] - at[times[0] - 1]) / gain for step in STEPS]
        np.testing.assert_allclose(retained[probe], expected if gain > 0 else math.nan)
    assert np.isnan(retained).any()
    assert np.isfinite(retained).any()


def test_what_is_left_is_a_share_of_all_gains():
    generator = np.random.default_rng(1)
    rows = [
        (passage, probe, t, generator.normal() if generator.random() > 0.4 and t < 4 else np.nan)
        for passage in range(7)
        for probe in range(2)
        for t in range(5)
    ]
    columns = ["passage_id", "probe_id", "steps_since", "retained"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["gain"] = 0.1 + (3 * frame["passage_id"] + 5 * frame["probe_id"]) % 7
    weights = np.vstack([np.full(7, 1 / 7), generator.multinomial(7, np.full(7, 1 / 7), 3) / 7])
    curves = shares_left(frame, pd.Index(range(7)), "steps_since", weights)
    assert list(curves.columns) == [0, 1, 2, 3, 4]
    for row, weight in enumerate(weights):
        for t in range(4):
            here = frame[(frame["steps_since"] == t) & frame["retained"].notna()]
            of_passages = weight[here["passage_id"]]
            left = (of_passages * here["gain"] * here["retained"]).sum()
            assert curves.loc[row, t] == pytest.approx(left / (of_passages * here["gain"]).sum())
    assert curves[4].isna().all()


def test_foreign_schedules_are_refused():
    scores = build_scores(fading(lambda t: 1.0))
    schedule = build_schedule(6)
    with pytest.raises(UserError, match="passage 3, which the probe scores ask for, is missing"):
        measure(scores, schedule[schedule["passage_id"] != 3])
    with pytest.raises(UserError, match="none after 21 steps, at an injection of passage 0"):
        measure(scores, schedule.assign(train_step=schedule["train_step"] + 1))


def scores_until(last_step: int) -> pd.DataFrame:
    scores = pd.DataFrame(probe_scores(-8.0, {"paraphrase": -4.0, "once": -6.0}))
    return scores[scores["train_step"] <= last_step]


def schedule() -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"train_step": 10 * injection, "passage_id": passage}
        for injection in range(1, 6)
        for passage in range(6)
    ]
    return pd.DataFrame(rows)


def test_decay_follows_a_run_as_far_as_it_came() -> None:
    gains, retained = measure(scores_until(29), schedule())
    assert len(gains) == 18 * 2  # eighteen probes, two injections reached
    assert retained["train_step"].max() == 29


def test_a_run_that_came_to_no_injection_has_no_decay() -> None:
    gains, retained = measure(scores_until(9), schedule())
    assert len(gains) == len(retained) == 0
