"""The downstream gain of an intervention: paired on items and seeds, against its original."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ke_steps.artefacts.places import Identity
from ke_steps.artefacts.replicates import Resampled
from ke_steps.artefacts.summary_schemas import CORRELATIONS, DOWNSTREAM, ESTIMATES, SUMMARY
from ke_steps.claims.downstream import downstream
from ke_steps.claims.measured import Measured
from ke_steps.formulas.bootstrap import basic_interval, bootstrap_weights
from ke_steps.job.errors import UserError
from ke_steps.summary.points import mark_trained
from ke_steps.summary.quantities import ACCURACY_AFTER
from ke_steps.summary.replicates import Replicates
from tests.invented.study import SETTINGS

Answers = dict[tuple[int, str, int], np.ndarray]
"""Right or wrong by item, of (step, variant, seed)."""

NUM_ITEMS = 300
WEIGHTS = bootstrap_weights(NUM_ITEMS, 400, seed=3)


def told(answers: Answers, lost: tuple[int, str, int] | None = None) -> pd.DataFrame:
    """Return DOWNSTREAM of runs with these answers; the replicates of one may be lost."""
    rows, found = [], {}
    for (step, variant, seed), right in answers.items():
        run = Identity("m", step, variant, "r", seed)
        value = float(right.mean())
        rows.append({**run._asdict(), **ACCURACY_AFTER._asdict(), "value": value})
        if (step, variant, seed) != lost:
            found[ACCURACY_AFTER, run] = Resampled(value, WEIGHTS @ right, NUM_ITEMS, "items")
    summary = pd.DataFrame(rows, columns=SUMMARY.names).assign(num_items=NUM_ITEMS)
    summary = mark_trained(summary, ["m"])
    measured = Measured.of(
        "m",
        summary=summary,
        estimates=pd.DataFrame(columns=ESTIMATES.names),
        replicates=Replicates(found, SETTINGS.confidence),
        correlations=pd.DataFrame(columns=CORRELATIONS.names),
        settings=SETTINGS,
    )
    return pd.DataFrame(downstream(measured), columns=DOWNSTREAM.names)


def draw(share: float, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(NUM_ITEMS) < share).astype(float)


def test_one_seed_is_a_direct_paired_bootstrap() -> None:
    original = draw(0.6, 0)
    woken = np.where(draw(0.1, 1) > 0, 1.0, original)  # a tenth of the items are mended
    (row,) = told({(8, "original", 0): original, (8, "woken", 0): woken}).to_dict("records")
    low, high = basic_interval(
        (woken - original).mean(), WEIGHTS @ (woken - original), SETTINGS.confidence
    )
    assert row["change"] == pytest.approx(woken.mean() - original.mean())
    assert (row["change_low"], row["change_high"]) == pytest.approx((low, high))
    unpaired = np.ptp(basic_interval(0, WEIGHTS @ woken, 0.95))
    assert row["change_high"] - row["change_low"] < unpaired
    for end in ("", "_low", "_high"):
        assert row[f"relative{end}"] == pytest.approx(row[f"change{end}"] / original.mean())
    assert (row["num_seeds"], row["num_items"]) == (1, NUM_ITEMS)
    assert row["interval_kind"] == "bootstrap over items, paired"


def test_what_a_seed_does_to_both_is_in_no_change() -> None:
    """Seeds far apart, the variant better by the same in each: the seeds add nothing."""
    answers: Answers = {}
    for seed, share in ((0, 0.3), (1, 0.8)):
        original = (np.arange(NUM_ITEMS) % 10 < 10 * share).astype(float)
        woken = original.copy()
        woken[np.flatnonzero(original == 0)[:30]] = 1
        answers |= {(8, "original", seed): original, (8, "woken", seed): woken}
    (row,) = told(answers).to_dict("records")
    assert row["change"] == pytest.approx(0.1)
    assert row["change_high"] - row["change_low"] < 0.1
    assert row["interval_kind"] == "bootstrap over items and seeds, paired"


def test_only_seeds_and_steps_that_both_have_are_compared() -> None:
    answers = {
        (8, "original", 0): draw(0.5, 0),
        (8, "original", 1): draw(0.9, 1),  # whose variant diverged
        (8, "woken", 0): draw(0.5, 2),
        (16, "woken", 0): draw(0.5, 3),  # whose original diverged
    }
    (row,) = told(answers).to_dict("records")
    assert (row["step"], row["num_seeds"]) == (8, 1)
    expected = answers[8, "woken", 0].mean() - answers[8, "original", 0].mean()
    assert row["change"] == pytest.approx(expected)


def test_a_study_without_variants_has_no_rows() -> None:
    assert told({(8, "original", 0): draw(0.5, 0)}).empty


def test_replicates_that_are_not_there_are_refused() -> None:
    answers = {(8, "original", 0): draw(0.5, 0), (8, "woken", 0): draw(0.5, 1)}
    with pytest.raises(UserError, match=r"--replicates: no file has P after of .*woken"):
        told(answers, lost=(8, "woken", 0))
