"""Decay: planted curves give back their constants, and intervals hold their spread."""

import math
import subprocess
import sys

import numpy as np
import pytest

from ke_steps import fit_decay
from ke_steps.artefacts.learning_schemas import DECAY, PROBE_SCORES, RETAINED
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.text_schemas import SCHEDULE
from ke_steps.settings.learning import FitDecay
from tests.invented.decay import (
    LAST,
    NUM_STEPS,
    STEPS,
    build_schedule,
    build_scores,
    fading,
    injected,
)

SETTINGS = FitDecay(num_bootstrap=200, confidence=0.9, seed=4)


def fit(folder, scores, num_passages=6):
    """Run the step; return both tables."""
    paths = [folder / name for name in ("scores", "schedule", "decay", "retained")]
    write_table(paths[0], scores, PROBE_SCORES)
    write_table(paths[1], build_schedule(num_passages), SCHEDULE)
    fit_decay.run(
        probe_scores=paths[0],
        schedule=paths[1],
        output_decay=paths[2],
        output_retained=paths[3],
        settings=SETTINGS,
    )
    decay = read_frame(paths[2], DECAY).set_index(["condition", "quantity"])
    return decay, read_frame(paths[3], RETAINED)


@pytest.mark.parametrize("slope", [0.05, 0.16])
def test_power_law_is_recovered(tmp_path, slope):
    decay, retained = fit(
        tmp_path, build_scores(fading(lambda t: 1 - slope * math.log(t) if t else 1.0))
    )
    values = decay["value"].unstack()
    np.testing.assert_allclose(values["power_law_decay"], slope, rtol=1e-9)
    np.testing.assert_allclose(values["power_law_r_squared"], 1, rtol=1e-9)
    assert (values["exponential_r_squared"] < 0.99).all()
    np.testing.assert_allclose(decay["low"].unstack()["power_law_decay"], slope, rtol=1e-9)
    after = retained[retained["steps_since"] > 0]
    expected = 1 - slope * np.log(after["steps_since"])
    np.testing.assert_allclose(after["retained"], expected, rtol=1e-9)
    assert (retained.loc[retained["steps_since"] == 0, "retained"] == 1).all()
    left = 1 - slope * math.log(NUM_STEPS - LAST)
    assert values.loc["paraphrase", "retainability"] == pytest.approx(left)


def test_passages_that_keep_less_from_the_start_do_not_fade_faster(tmp_path):
    """Once passages enter at 20, 40 and 60; the later, the less of their gain outlives a step."""

    def curve(passage, probe, step):
        late = injected(passage)[-1] / LAST
        return fading(lambda t: 1.2 - 0.5 * late - 0.1 * math.log(t) if t else 1.0)(
            passage, probe, step
        )

    decay, retained = fit(tmp_path, build_scores(curve, num_passages=12), num_passages=12)
    once = decay.loc["once"].drop(index=["effectivity", "retainability"])
    numbers = once.loc["power_law_decay", ["value", "low", "high"]].astype(float)
    np.testing.assert_allclose(numbers, 0.1, rtol=1e-9)
    np.testing.assert_allclose(once.loc["power_law_r_squared", "value"], 1, rtol=1e-9)
    means = retained[(retained["condition"] == "once") & (retained["steps_since"] > 0)]
    slope, _ = np.polyfit(np.log(means["steps_since"]), means["retained"], 1)
    assert abs(-slope - 0.1) > 0.02  # the mean curve mixes those that entered at other times


@pytest.mark.parametrize("life", [40.0, 900.0])
def test_exponential_is_recovered(tmp_path, life):
    decay, _ = fit(tmp_path, build_scores(fading(lambda t: math.exp(-t / life))))
    values = decay["value"].unstack()
    np.testing.assert_allclose(values["exponential_decay_per_step"], 1 / life, rtol=1e-6)
    np.testing.assert_allclose(values["exponential_r_squared"], 1, rtol=1e-6)
    assert (values["power_law_r_squared"] < 0.99).all()


def test_effectivity_is_the_gain_of_each_injection(tmp_path):
    decay, _ = fit(tmp_path, build_scores(fading(lambda t: math.exp(-t / 99))))
    gains = {p: np.mean([1 + 0.1 * p + 0.3 * probe for probe in range(3)]) for p in range(6)}
    values = decay["value"].unstack()["effectivity"]
    assert values["paraphrase"] == pytest.approx(np.mean([gains[p] for p in (0, 2, 4)]))
    assert values["once"] == pytest.approx(np.mean([gains[p] for p in (1, 3, 5)]))
    assert values["all"] == pytest.approx(np.mean(list(gains.values())))


def test_the_peak_may_come_later_than_the_injection(tmp_path):
    def curve(passage, probe, step):  # momentum: up for 16 steps more, then down
        since = step - injected(passage)[-1]
        return -5.0 if since < 0 else -5 + 1 - abs(since - 16) / 100

    _, retained = fit(tmp_path, build_scores(curve, num_passages=1), num_passages=1)
    alone = retained[retained["condition"] == "paraphrase"]
    assert alone["steps_since"].tolist() == [step - 76 for step in STEPS if step >= 76]
    np.testing.assert_allclose(alone["retained"], 1 - alone["steps_since"] / 100, rtol=1e-9)


def test_outliers_are_left_out(tmp_path):
    def curve(passage, probe, step):
        if (passage, probe) == (0, 0) and step == 200:
            return 1e6
        return fading(lambda t: math.exp(-t / 100))(passage, probe, step)

    decay, retained = fit(tmp_path, build_scores(curve))
    assert retained["retained"].max() == 1
    np.testing.assert_allclose(
        decay["value"].unstack()["exponential_decay_per_step"], 0.01, rtol=1e-6
    )


def test_no_gain_is_null(tmp_path):
    decay, retained = fit(tmp_path, build_scores(lambda passage, probe, step: -1 - step / 500))
    assert (decay["value"].unstack()["effectivity"] < 0).all()
    others = decay[decay.index.get_level_values("quantity") != "effectivity"]
    assert len(others) == 3 * 5
    assert others.drop(columns="num_items").isna().all(axis=None)
    assert retained[["retained", "low", "high"]].isna().all(axis=None)


def test_a_curve_gone_at_once_has_no_rate(tmp_path):
    decay, _ = fit(tmp_path, build_scores(fading(lambda t: 0.0 if t else 1.0)))
    assert np.isnan(decay.loc[("all", "exponential_decay_per_step"), "value"])
    assert decay.loc[("all", "power_law_decay"), "value"] == pytest.approx(0, abs=1e-12)


def test_intervals_hold_the_spread_over_passages(tmp_path):
    lives = [60, 60, 90, 90, 150, 150]
    scores = build_scores(
        lambda p, probe, step: fading(lambda t: math.exp(-t / lives[p]))(p, probe, step)
    )
    decay, retained = fit(tmp_path, scores)
    rates = decay.loc[("all", "exponential_decay_per_step")]
    assert rates["low"] < rates["value"] < rates["high"]
    assert 1 / 150 < rates["value"] < 1 / 60
    both = retained[(retained["condition"] == "all") & (retained["steps_since"] == 100)]
    # of all gains: a passage that was injected thrice gained thrice as much
    gains = [
        sum(1 + 0.1 * passage + 0.3 * probe for probe in range(3)) * len(injected(passage))
        for passage in range(6)
    ]
    share = np.average([math.exp(-100 / life) for life in lives], weights=gains)
    assert both["retained"].item() == pytest.approx(share)
    assert both["low"].item() < share < both["high"].item()


def test_imports_no_torch():
    code = "import sys, ke_steps.fit_decay; print({'torch', 'transformers'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
