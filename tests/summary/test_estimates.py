"""Means over seeds: with the error of sampling and that between seeds, each where it is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import ESTIMATES, RUNS, SUMMARY
from ke_steps.summary.estimates import estimates_of, interval_kind
from ke_steps.summary.points import mark_trained
from ke_steps.summary.quantities import QUANTITIES
from ke_steps.summary.runs import converged
from tests.invented.study import SETTINGS, SyntheticStudy

A = {"quantity": "acquisition", "group": "all/all", "unit": "fraction", "num_items": 24}
LOSS = {"quantity": "training_loss", "group": "model", "unit": "nats"}


def summary_of(*rows: dict[str, Any]) -> pd.DataFrame:
    """Return a summary of one model; what a row does not say is the original's at step 100."""
    told = {"model": "m", "step": 100, "variant": "original", "recipe": "r", "seed": 0}
    table = pd.DataFrame([told | row for row in rows], columns=SUMMARY.names)
    return mark_trained(table.astype({"seed": "Int64", "num_items": "Int64"}), ["m"])


def sampled(value: float, below: float, above: float, **where: Any) -> dict[str, Any]:
    return {**A, **where, "value": value, "low": value - below, "high": value + above}


def test_two_seeds_by_hand() -> None:
    """Both errors of each side add in squares; t with the freedom of Welch and Satterthwaite."""
    estimates = estimates_of(
        summary_of(
            sampled(0.30, 0.08, 0.04, seed=0),
            sampled(0.34, 0.06, 0.04, seed=1),
            sampled(0.10, 0.02, 0.02, seed=0, step=200),
            sampled(0.20, 0.02, 0.02, seed=1, step=200),
        ),
        SETTINGS,
    )
    row = estimates[estimates["step"] == 100].iloc[0]
    # Within states: (0.02² + 0.02² + 0.05² + 0.05²) / 2 degrees of freedom; of a mean of two: half.
    variance = (2 * 0.02**2 + 2 * 0.05**2) / 2 / 2
    normal = stats.norm.ppf(0.975)
    for end, halves in (("low", (0.08, 0.06)), ("high", (0.04, 0.04))):
        squared = np.mean(np.square(halves)) / normal**2 + variance
        freedom = 2 * (squared / variance) ** 2
        half = stats.t.ppf(0.975, freedom) * math.sqrt(squared)
        assert abs(row[end] - row["value"]) == pytest.approx(half, rel=1e-9)
    assert row["value"] == pytest.approx(0.32)
    assert (row["num_seeds"], row["num_items"]) == (2, 24)
    assert row["interval_kind"] == "bootstrap over passages and seeds"


def test_one_seed_alone_keeps_its_sampling_interval() -> None:
    (row,) = estimates_of(summary_of(sampled(0.3, 0.08, 0.04)), SETTINGS).to_dict("records")
    assert (row["low"], row["high"]) == (pytest.approx(0.22), pytest.approx(0.34))
    assert (row["interval_kind"], row["num_seeds"]) == ("bootstrap over passages", 1)


def test_one_seed_beside_states_of_two_has_their_spread() -> None:
    """How far seeds lie apart is no property of one state."""
    rows = [
        sampled(0.3, 0.01, 0.01),
        *(sampled(0.1 * k, 0.01, 0.01, step=200, seed=k) for k in (0, 1)),
    ]
    first = estimates_of(summary_of(*rows), SETTINGS).iloc[0]
    assert first["high"] - first["low"] > 0.2
    assert (first["interval_kind"], first["num_seeds"]) == ("bootstrap over passages and seeds", 1)


def test_without_sampling_the_seeds_are_all_there_is() -> None:
    two = summary_of(*({**LOSS, "value": 3.0 + 0.2 * seed, "seed": seed} for seed in (0, 1)))
    (row,) = estimates_of(two, SETTINGS).to_dict("records")
    half = stats.t.ppf(0.975, 1) * 0.1  # the standard error of two values 0.2 apart
    assert (row["value"], row["high"] - row["value"]) == pytest.approx((3.1, half))
    assert row["interval_kind"] == "seeds"
    (alone,) = estimates_of(two[:1], SETTINGS).to_dict("records")
    assert alone["value"] == 3.0
    assert math.isnan(alone["low"])
    assert math.isnan(alone["high"])
    assert alone["interval_kind"] == ""


def test_a_sampling_interval_that_is_not_known_leaves_none() -> None:
    """Seeds alone would hide the larger error."""
    unknown = {"low": math.nan, "high": math.nan}
    rows = [{**A, "value": 0.1 * seed, "seed": seed, **unknown} for seed in (0, 1)]
    (row,) = estimates_of(summary_of(*rows), SETTINGS).to_dict("records")
    assert row["value"] == pytest.approx(0.05)
    assert math.isnan(row["low"])
    assert row["interval_kind"] == ""


def test_no_interval_leaves_the_bounds_of_its_quantity() -> None:
    rows = summary_of(
        {**A, "quantity": "exact_match_after", "value": 0.01, "low": -0.02, "high": 0.04},
        {**A, "quantity": "accuracy_after", "group": "mean", "value": 1, "low": 0.9, "high": 1.1},
        {**A, "quantity": "performance_after", "value": -0.1, "low": -0.3, "high": 0.1},
    )
    bounds = estimates_of(rows, SETTINGS)[["low", "high"]].to_numpy()
    assert bounds.ravel() == pytest.approx([0, 0.04, 0.9, 1, -0.3, 0])


def test_the_untrained_model_is_in_no_spread_but_its_own() -> None:
    rows = [sampled(0.5 * k, 0.01, 0.01, step=0, seed=k) for k in (0, 1)]
    trained = [sampled(0.3 + 0.001 * k, 0.01, 0.01, seed=k) for k in (0, 1)]
    whole = estimates_of(summary_of(*rows, *trained), SETTINGS)
    alone = estimates_of(summary_of(*trained), SETTINGS)
    pd.testing.assert_frame_equal(
        whole[whole["step"] > 0].reset_index(drop=True), alone, check_dtype=False
    )
    untrained = estimates_of(summary_of(*rows), SETTINGS).iloc[0]
    assert untrained["high"] > 1 - 1e-9  # the bound of A: t of one degree of freedom is wide


def test_a_value_that_a_seed_has_not_is_in_no_mean() -> None:
    nothing = {**A, "value": math.nan, "low": math.nan, "high": math.nan}
    known = sampled(0.3, 0.1, 0.1, seed=1)
    row = estimates_of(summary_of(nothing, known), SETTINGS).iloc[0]
    assert (row["value"], row["num_seeds"]) == (0.3, 1)
    gone = estimates_of(summary_of(nothing, nothing | {"seed": 1}), SETTINGS).iloc[0]
    assert math.isnan(gone["value"])
    assert gone["num_seeds"] == 0


@pytest.mark.parametrize(
    ("units", "is_seeded", "words"),
    [
        ("", False, ""),
        ("", True, "seeds"),
        ("items", False, "bootstrap over items"),
        ("items", True, "bootstrap over items and seeds"),
        ("documents", False, "order statistics of documents"),
    ],
)
def test_intervals_say_of_what_they_are(units: str, is_seeded: bool, words: str) -> None:
    assert interval_kind(units, is_seeded=is_seeded) == words


def test_a_study_has_one_row_per_state_and_measure(tables: dict[str, Path]) -> None:
    summary = read_frame(tables["summary"], SUMMARY)
    estimates = read_frame(tables["estimates"], ESTIMATES)
    keys = ["model", "step", "variant", "recipe", "group", "quantity"]
    assert not estimates.duplicated(keys).any()
    places = summary[keys].drop_duplicates(ignore_index=True)
    pd.testing.assert_frame_equal(estimates[keys], places)
    before = estimates[estimates["recipe"].isna()]
    assert before["num_seeds"].isna().all()
    own = summary[summary["recipe"].isna() & summary["low"].notna()]
    kept = before[before["low"].notna()]
    assert len(kept) == len(own)
    for end in ("value", "low", "high"):
        assert kept[end].to_numpy() == pytest.approx(own[end].to_numpy(), rel=1e-12)


def test_runs_that_diverged_are_in_no_estimate(tmp_path: Path) -> None:
    lost = "nursery/step400/original/baseline/seed1"
    study = SyntheticStudy(tmp_path, steps=(400, 800), variants={}, diverged={lost: "stopped"})
    tables = study.build()
    estimates = read_frame(tables["estimates"], ESTIMATES)
    summary, runs = (read_frame(tables[k], s) for k, s in (("summary", SUMMARY), ("runs", RUNS)))
    counted = converged(summary, runs)
    rows = counted[(counted["quantity"] == "acquisition") & (counted["group"] == "all/all")]
    found = estimates[
        (estimates["quantity"] == "acquisition") & (estimates["group"] == "all/all")
    ].set_index("step")
    assert found["num_seeds"].to_dict() == {400: 1, 800: 2}
    assert found["value"].to_dict() == pytest.approx(rows.groupby("step")["value"].mean().to_dict())


def test_every_interval_lies_within_its_bounds(tables: dict[str, Path]) -> None:
    estimates = read_frame(tables["estimates"], ESTIMATES).dropna(subset="low")
    least, most = zip(*(QUANTITIES[name].bounds for name in estimates["quantity"]), strict=True)
    assert (estimates["low"] >= np.array(least)).all()
    assert (estimates["high"] <= np.array(most)).all()
    assert (estimates["low"] <= estimates["high"]).all()
