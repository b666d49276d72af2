"""Replicates of a study: whose they are, and what pairs of measurements come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.places import Identity
from ke_steps.artefacts.replicates import REPLICATES, Resampled, name_of_units
from ke_steps.formulas.bootstrap import basic_interval, bootstrap_weights
from ke_steps.job.errors import UserError
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACCURACY_BEFORE,
    ACQUISITION,
    ACQUISITION_FROM_ORIGINAL,
    BITS_BEFORE,
    CHANCE,
    ENTROPY,
    FORGETTING,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    KNOWLEDGE_BEFORE,
    Measure,
)
from ke_steps.summary.replicates import Replicates

NUM_BOOTSTRAP = 300
RUN = Identity("m", 8, "original", "baseline", 0)
BEFORE = RUN._replace(recipe=None, seed=None)
BOOST = RUN._replace(variant="boost")

Write = Callable[..., Path]


def resampled(values: np.ndarray, seed: int = 1, name: str = "units") -> Resampled:
    weights = bootstrap_weights(len(values), NUM_BOOTSTRAP, seed)
    units = name_of_units([name, len(values)], NUM_BOOTSTRAP, seed)
    return Resampled(float(values.mean()), weights @ values, len(values), units)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_rows(place: str, **rows: Resampled) -> Path:
        path = tmp_path / place / "replicates.parquet"
        names = [name.split("__") for name in rows]
        found = [row.row(*name) for name, row in zip(names, rows.values(), strict=True)]
        write_table(path, found, REPLICATES)
        return path

    return write_rows


def read(*paths: Path) -> Replicates:
    return Replicates.read(paths, {"m": "pretraining"}, 0.95)


def interval(replicates: Replicates, measure: Measure, identity: Identity) -> tuple[float, float]:
    found = replicates.of(measure, identity)
    assert found is not None
    low, high = basic_interval(found.value, found.replicates, 0.95)
    return float(low), float(high)


def test_names_follow_from_places(write: Write) -> None:
    entropy, text, right = (resampled(np.random.default_rng(n).random(9)) for n in range(3))
    found = read(
        write("e/m/step8/original/pretraining", entropy_nats__model=entropy),
        write("e/m/step8/original/c4", **{"attention_entropy_nats__layer 1": entropy}),
        write("r/m/step8/original", accuracy__mean=right, bits_per_token__held_out=text),
        write("r/m/step8/original/baseline/seed0", accuracy__mean=text),
        write("k/m/step8/original/baseline/seed0", **{"performance_before__all/all": text}),
    )
    for measure, identity, expected in (
        (ENTROPY, BEFORE, entropy),
        (Measure("attention_entropy_nats", "c4/layer 1"), BEFORE, entropy),
        (ACCURACY_BEFORE, BEFORE, right),
        (BITS_BEFORE, BEFORE, text),
        (ACCURACY_AFTER, RUN, text),
        (KNOWLEDGE_BEFORE, RUN, text),
    ):
        sampled = found.of(measure, identity)
        assert sampled is not None
        assert (sampled.value, sampled.units) == (expected.value, expected.units)
        np.testing.assert_array_equal(sampled.replicates, expected.replicates)
    for measure, identity in (
        (ACCURACY_BEFORE, RUN),
        (ACCURACY_AFTER, BEFORE),
        (ENTROPY, BOOST),
        (FORGETTING, BOOST),
        (ACQUISITION, RUN),
        (ACQUISITION_FROM_ORIGINAL, RUN),
    ):
        assert found.of(measure, identity) is None


def test_acquisition_from_the_original_has_its_denominator(write: Write) -> None:
    generator = np.random.default_rng(0)
    before, after, damaged, end = -generator.uniform(2, 9, (4, 40))
    names = ("performance_before__all/all", "performance_after__all/all")
    found = read(
        *(
            write(place, **dict(zip(names, map(resampled, pair), strict=True)))
            for place, pair in (
                ("m/step8/original/baseline/seed0", (before, after)),
                ("m/step8/boost/baseline/seed0", (damaged, end)),
                ("m/step9/boost/baseline/seed0", (damaged, end)),
            )
        )
    )
    weights = bootstrap_weights(40, NUM_BOOTSTRAP, 1)
    for measure, identity, start, stop in (
        (ACQUISITION, RUN, before, after),
        (ACQUISITION_FROM_ORIGINAL, RUN, before, after),
        (ACQUISITION, BOOST, damaged, end),
        (ACQUISITION_FROM_ORIGINAL, BOOST, before, end),
    ):
        sampled = found.of(measure, identity)
        assert sampled is not None
        assert sampled.value == pytest.approx(1 - stop.mean() / start.mean())
        np.testing.assert_allclose(
            sampled.replicates, [1 - (w @ stop) / (w @ start) for w in weights]
        )
        assert sampled.unresolved == 0
    assert found.of(ACQUISITION_FROM_ORIGINAL, BOOST._replace(step=9)) is None
    (row,) = found.compared_rows(BOOST).to_dict("records")
    assert Measure(row["quantity"], row["group"]) == ACQUISITION_FROM_ORIGINAL
    assert row["num_items"] == 40
    assert (row["low"], row["high"]) == pytest.approx(
        interval(found, ACQUISITION_FROM_ORIGINAL, BOOST)
    )


def answers(write: Write, known: float, left: float, num_items: int = 200) -> Replicates:
    """A task with two and four choices, answered before and after learning."""
    generator = np.random.default_rng(4)
    before, after = (generator.random(num_items) < share for share in (known, left))
    chance = np.where(np.arange(num_items) % 2, 0.25, 0.5)
    return read(
        write(
            "r/m/step8/original",
            accuracy__mean=resampled(before.astype(float)),
            chance__mean=resampled(chance),
        ),
        write(
            "r/m/step8/original/baseline/seed0",
            accuracy__mean=resampled(after.astype(float)),
            chance__mean=resampled(chance),
        ),
    )


def test_forgetting_and_forgetting_above_chance(write: Write) -> None:
    found = answers(write, 0.8, 0.55)
    parts = [
        found.of(measure, identity)
        for measure, identity in ((ACCURACY_BEFORE, BEFORE), (ACCURACY_AFTER, RUN), (CHANCE, RUN))
    ]
    before, after, chance = (part.replicates for part in parts if part)
    b, a, c = (part.value for part in parts if part)
    assert c == pytest.approx(0.375)
    rows = found.compared_rows(RUN).set_index("quantity")
    for measure, value, replicates in (
        (FORGETTING, 1 - a / b, 1 - after / before),
        (FORGETTING_ABOVE_CHANCE, (b - a) / (b - c), (before - after) / (before - chance)),
    ):
        sampled = found.of(measure, RUN)
        assert sampled is not None
        assert sampled.value == pytest.approx(value)
        np.testing.assert_allclose(sampled.replicates, replicates)
        row = rows.loc[measure.quantity]
        expected = basic_interval(value, replicates, 0.95)
        assert (row["low"], row["high"]) == pytest.approx(tuple(map(float, expected)))
        assert row["num_items"] == 200


def test_what_is_not_above_chance_has_nothing_to_forget(write: Write) -> None:
    found = answers(write, 0.4, 0.3)
    sampled = found.of(FORGETTING_ABOVE_CHANCE, RUN)
    assert sampled is not None
    assert math.isnan(sampled.value)
    rows = found.compared_rows(RUN).set_index("quantity")
    assert rows.loc["forgetting_above_chance", ["value", "low", "high"]].isna().all()
    assert rows.loc["forgetting", ["value", "low", "high"]].notna().all()


def test_saturated_answers_leave_what_their_number_cannot_tell(write: Write) -> None:
    """All right before and after: F is 0, but 30 items do not exclude 12 % of errors."""
    ones = resampled(np.ones(30))._replace(unresolved=0.1)
    found = read(
        write("r/m/step8/original", accuracy__sciq=ones),
        write("r/m/step8/original/baseline/seed0", accuracy__sciq=ones),
    )
    (row,) = found.compared_rows(RUN).to_dict("records")
    assert row["value"] == 0
    assert (row["low"], row["high"]) == pytest.approx((-1 / 9, 1 / 9))


def test_other_units_are_not_compared(write: Write) -> None:
    found = read(
        write("r/m/step8/original", accuracy__mean=resampled(np.ones(9))),
        write("r/m/step8/original/baseline/seed0", accuracy__mean=resampled(np.ones(9), name="x")),
    )
    with pytest.raises(UserError, match=r"P after of m/8/original/baseline/0 and .* of m/8/orig"):
        found.of(FORGETTING, RUN)
    assert found.of(ACCURACY_AFTER, RUN) is not None


def test_knowledge_of_a_group(write: Write) -> None:
    rows = {
        f"performance_{moment}__once/all": resampled(-np.random.default_rng(seed).random(8))
        for seed, moment in enumerate(("before", "after"))
    }
    found = read(write("m/step8/original/baseline/seed0", **rows))
    once = found.of(ACQUISITION.of("once/all"), RUN)
    assert once is not None
    after = rows["performance_after__once/all"].value
    assert once.value == pytest.approx(1 - after / rows["performance_before__once/all"].value)
    assert found.of(ACQUISITION, RUN) is None
    assert found.of(KNOWLEDGE_AFTER.of("once/all"), RUN) is not None


def test_a_run_is_found_without_going_through_the_study() -> None:
    class Watched(dict[tuple[Measure, Identity], Resampled]):
        num_passes = 0

        def __iter__(self) -> Iterator[tuple[Measure, Identity]]:
            self.num_passes += 1
            return super().__iter__()

    known = resampled(np.linspace(-4.0, -2.0, 20))
    runs = [RUN._replace(seed=seed) for seed in range(5)]
    watched = Watched(
        {
            (measure, run): known
            for run in runs
            for measure in (KNOWLEDGE_BEFORE.of("all/all"), KNOWLEDGE_AFTER.of("all/all"))
        }
    )
    found = Replicates(watched, 0.95)
    assert [len(found.compared_rows(run)) for run in runs] == [1] * 5
    assert found.compared_rows(BEFORE).empty
    assert watched.num_passes == 1
