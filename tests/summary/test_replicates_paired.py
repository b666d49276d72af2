"""Differences of states by their kept replicates against a paired bootstrap written by hand.

The unit-level data go through the steps' own functions; by hand, each resample is drawn unit by
unit and the statistic computed anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ke_steps.aggregate_entropy import of_activity, replicate_rows
from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.places import Identity
from ke_steps.artefacts.replicates import REPLICATES
from ke_steps.evaluate_knowledge import quantities
from ke_steps.formulas.bootstrap import basic_interval, bootstrap_weights
from ke_steps.formulas.uncertainty import NO_SEEDS, Estimate, Sampled, contrast
from ke_steps.job.errors import UserError
from ke_steps.scoring.retention import Answers, measured
from ke_steps.settings.learning import EvaluateKnowledge, EvaluateRetention
from ke_steps.settings.measures import AggregateEntropy
from ke_steps.summary.quantities import ACCURACY_AFTER, ENTROPY, KNOWLEDGE_AFTER, Measure
from ke_steps.summary.replicates import Replicates

BOOTSTRAP = {"num_bootstrap": 400, "confidence": 0.95, "seed": 5}
KNOWLEDGE = EvaluateKnowledge(**BOOTSTRAP)
RETENTION = EvaluateRetention(
    tasks=["sciq", "piqa"], held_out_corpus="h", batch_size_sequences=1, **BOOTSTRAP
)
ACTIVITY = AggregateEntropy(dormant_ratio=0.1, **BOOTSTRAP)
ORIGINAL = Identity("m", 8, "original", "baseline", 0)
BOOST = ORIGINAL._replace(variant="boost")

Array = np.ndarray


def kept(folder: Path, place: str, rows: Iterable[dict[str, object]]) -> Path:
    path = folder / place / "replicates.parquet"
    write_table(path, list(rows), REPLICATES)
    return path


def drawn(num_units: int, seed: int) -> list[Array]:
    """Return the units of each resample, one by one, as ``bootstrap_weights`` draws them."""
    counts = np.rint(bootstrap_weights(num_units, 400, seed) * num_units).astype(int)
    return [np.repeat(np.arange(num_units), row) for row in counts]


def difference(replicates: Replicates, measure: Measure, states: tuple[Identity, Identity]):
    found = [replicates.of(measure, state) for state in states]
    samples = [[each] for each in found if each is not None]
    assert len(samples) == 2
    return contrast([1, -1], samples, NO_SEEDS, 0.95), samples


def check(
    found: Estimate, samples: list[list[Sampled]], value: float, by_hand: list[float], most: float
) -> None:
    """Check an interval, and that it is at most so wide beside that of independent samples."""
    low, high = basic_interval(value, by_hand, 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high))
    first, second = (sample.replicates for (sample,) in samples)
    shuffled = np.random.default_rng(0).permutation(second)
    unpaired_low, unpaired_high = basic_interval(value, first - shuffled, 0.95)
    assert found.high - found.low < most * (unpaired_high - unpaired_low)


def passages(means: Array, first: int = 0) -> pd.DataFrame:
    names = ("performance", "exact_match", "first_token_log_probability")
    index = np.arange(first, first + len(means))
    return pd.DataFrame(dict.fromkeys(names, means), index=index)


def knowledge_of(folder: Path, after: dict[str, tuple[Array, int]]) -> Replicates:
    paths = []
    for variant, (means, first) in after.items():
        frames = (passages(means - 2, first), passages(means, first))
        rows = [found.row(name, "all/all") for name, found in quantities(*frames, KNOWLEDGE)]
        paths.append(kept(folder, f"k/m/step8/{variant}/baseline/seed0", rows))
    return Replicates.read(paths, {"m": "c"}, 0.95)


def test_knowledge_after_is_paired_by_passage(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    original = -generator.uniform(2, 12, 60)
    boost = original + generator.normal(-0.2, 0.2, 60)
    found = knowledge_of(tmp_path, {"original": (original, 0), "boost": (boost, 0)})
    estimate, samples = difference(found, KNOWLEDGE_AFTER, (BOOST, ORIGINAL))
    by_hand = [boost[units].mean() - original[units].mean() for units in drawn(60, 5)]
    check(estimate, samples, boost.mean() - original.mean(), by_hand, 0.15)
    assert estimate.high < 0


def test_other_passages_are_refused(tmp_path: Path) -> None:
    means = -np.random.default_rng(0).uniform(2, 12, 60)
    found = knowledge_of(tmp_path, {"original": (means, 0), "boost": (means, 1)})
    with pytest.raises(UserError, match="of different passages, items or sequences"):
        difference(found, KNOWLEDGE_AFTER, (BOOST, ORIGINAL))


def test_accuracy_after_is_paired_by_item_within_tasks(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    hard = {"sciq": generator.random(90), "piqa": generator.random(50)}
    right: dict[str, dict[str, Array]] = {"original": {}, "boost": {}}
    paths = []
    for variant, skill in (("original", 0.7), ("boost", 0.6)):
        given = {}
        for task, difficulty in hard.items():
            correct = difficulty + generator.normal(scale=0.03, size=len(difficulty)) < skill
            right[variant][task] = correct
            given[task] = Answers(correct, np.full(len(correct), 4), list(range(len(correct))))
        rows = [
            each.found.row(each.quantity, each.task)
            for each in measured(given, np.ones(3), "text", RETENTION)
        ]
        paths.append(kept(tmp_path, f"r/m/step8/{variant}/baseline/seed0", rows))
    replicates = Replicates.read(paths, {"m": "c"}, 0.95)
    found, samples = difference(replicates, ACCURACY_AFTER, (BOOST, ORIGINAL))

    def fall(sciq: Array, piqa: Array) -> float:
        chosen = {"sciq": sciq, "piqa": piqa}
        by_task = [
            right["boost"][task][units].mean() - right["original"][task][units].mean()
            for task, units in chosen.items()
        ]
        return float(np.mean(by_task))

    _, *seeds = np.random.SeedSequence(5).generate_state(3).tolist()
    by_hand = [fall(*units) for units in zip(drawn(90, seeds[0]), drawn(50, seeds[1]), strict=True)]
    check(found, samples, fall(np.arange(90), np.arange(50)), by_hand, 0.75)


def test_entropy_is_paired_by_groups_of_sequences(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    common = generator.gamma(0.4, size=(1, 12, 30))
    activities = {
        variant: np.concatenate([common * generator.uniform(0.9, 1.1, common.shape)] * 2)
        for variant in ("original", "boost")
    }
    paths = [
        kept(
            tmp_path,
            f"h/m/step8/{variant}/c",
            replicate_rows(list(of_activity("absolute", activity, ACTIVITY)), "text", ACTIVITY),
        )
        for variant, activity in activities.items()
    ]

    def entropy(variant: str, groups: Array) -> float:
        means = activities[variant][:, groups].mean(axis=1)
        return float(stats.entropy(means, axis=-1).sum())

    def fall(groups: Array) -> float:
        return entropy("boost", groups) - entropy("original", groups)

    states = tuple(each._replace(recipe=None, seed=None) for each in (BOOST, ORIGINAL))
    found, samples = difference(Replicates.read(paths, {"m": "c"}, 0.95), ENTROPY, states)
    check(found, samples, fall(np.arange(12)), [fall(groups) for groups in drawn(12, 5)], 0.5)
