"""Decay: definitions against plain loops."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ke_steps.formulas.decay import follow, measure, weighted_curves
from ke_steps.job.errors import UserError
from tests.invented.decay import NUM_STEPS, STEPS, build_schedule, build_scores, fading
from tests.invented.tables import probe_scores


def test_following_equals_plain_loops():
    generator = np.random.default_rng(0)
    steps = np.array(STEPS)
    values = generator.normal(size=(5, len(steps)))
    values[0] = -steps
    times = [20, 40, 60]
    effectivity, peaks, retained = follow(values, steps, times)
    for probe in range(5):
        at = dict(zip(STEPS, values[probe], strict=True))
        for number, start in enumerate(times):
            end = times[number + 1] if number < 2 else NUM_STEPS + 1
            window = [step for step in STEPS if start <= step <= start + 49 and step < end]
            peak = max(window, key=at.get)
            assert effectivity[probe, number] == at[peak] - at[start - 1]
        assert peaks[probe] == peak
        gain = at[peak] - at[times[0] - 1]
        expected = [(at[step] - at[times[0] - 1]) / gain for step in STEPS]
        np.testing.assert_allclose(retained[probe], expected if gain > 0 else math.nan)
    assert np.isnan(retained).any()
    assert np.isfinite(retained).any()


def test_curves_are_means_over_the_passages_that_have_a_value():
    generator = np.random.default_rng(1)
    values = generator.normal(size=(7, 5))
    values[generator.random((7, 5)) < 0.4] = np.nan
    values[:, 4] = np.nan
    weights = np.vstack([np.full(7, 1 / 7), generator.multinomial(7, np.full(7, 1 / 7), 3) / 7])
    curves = weighted_curves(values, weights)
    for row, weight in enumerate(weights):
        for t in range(4):
            present = np.isfinite(values[:, t])
            expected = np.average(values[present, t], weights=weight[present])
            assert curves[row, t] == pytest.approx(expected)
    assert np.isnan(curves[:, 4]).all()


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
