"""Gauge, function or neither: verdicts where the cause is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.summary_schemas import EFFECTS
from ke_steps.claims.causes import causes, causes_between_runs
from ke_steps.claims.effect_rows import effect_rows
from ke_steps.claims.entropy_alone import entropy_alone, entropy_alone_between_runs
from ke_steps.claims.findings import Finding
from ke_steps.claims.learning_rates import learning_rates
from tests.invented.claims import Invented, finding_of, judged
from tests.invented.effects import Change, crossed, draws

CLAIMS = [
    f"{factor}_{claim}_learning"
    for factor in ("gauge", "function")
    for claim in ("changes", "improves")
]
NEITHER = ["not supported", "not supported"]
ALONE = "entropy_alone_changes_learning"
DORMANT = "dormant_memories_learn_more_than_others"


def verdicts(invented: Invented) -> dict[str, str]:
    return {found.claim: found.verdict for found in causes(invented.measured())}


def effects(invented: Invented, **where: Any) -> pd.DataFrame:
    """Return the rows of a table of effects in which columns have these values."""
    rows = pd.DataFrame(effect_rows(invented.measured())).reindex(columns=EFFECTS.names)
    for column, value in where.items():
        rows = rows[rows[column].isna() if value is None else rows[column] == value]
    return rows


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, [*NEITHER, *NEITHER]),
        # surely there, and of no interest
        ({"gauge": (0.03, 0.0)}, [*NEITHER, *NEITHER]),
        ({"gauge": (0.3, 0.05)}, ["supported", "supported", *NEITHER]),
        ({"function": (0.3, 0.05)}, [*NEITHER, "supported", "supported"]),
        ({"gauge": (-0.3, 0.0)}, ["supported", "not supported", *NEITHER]),
        # more new knowledge, bought with old
        ({"gauge": (0.3, -0.1)}, ["supported", "not supported", *NEITHER]),
        ({"interaction": (0.4, 0.1)}, ["supported", "supported", "supported", "supported"]),
    ],
    ids=["nothing", "tiny", "gauge", "function", "worse", "bought", "interaction"],
)
def test_the_cause_that_was_made_is_found(told, expected):
    found = verdicts(crossed(num_items=2000, noise=0.01, **told))
    assert [found[claim] for claim in CLAIMS] == expected


def test_effects_are_those_that_were_made():
    function, gauge, interaction = (0.2, 0.05), (-0.3, 0.1), (0.4, -0.05)
    made = crossed(function=function, gauge=gauge, interaction=interaction, noise=0.0, seeds=(0,))
    table = effects(made, num_draws=None).set_index(["effect", "quantity"])["value"]
    for place, quantity in enumerate(("performance_after", "accuracy_after")):
        both = interaction[place]
        assert table["function", quantity] == pytest.approx(function[place] + both / 2)
        assert table["gauge", quantity] == pytest.approx(gauge[place] + both / 2)
        assert table["interaction", quantity] == pytest.approx(both)
    # A* = 1 - K after / -10 moves by a tenth of K after; F above chance by P over 80 - 25 %
    assert table["gauge", "acquisition_from_original"] == pytest.approx(-0.01)
    assert table["gauge", "forgetting_above_chance"] == pytest.approx(-0.075 / 0.55)


def test_over_learning_rates_the_mean_decides():
    made = crossed(gauge=(0.2, 0.0), growth=(-1.0, 0.0, 1.0, 4.0))
    (mean,) = effects(made, effect="gauge", quantity="performance_after", recipe=None)[
        ["value", "num_recipes", "frontier"]
    ].itertuples(index=False)
    assert mean.value == pytest.approx(0.2, abs=0.01)
    assert (mean.num_recipes, mean.frontier) == (4, "baseline")
    each = effects(made, effect="gauge", quantity="performance_after", num_recipes=1)
    assert list(each["value"].round(1)) == [-0.2, 0.0, 0.2, 0.8]
    found = finding_of(made, causes, "gauge_changes_learning")
    assert found.verdict == "supported"
    assert found.estimate.value == pytest.approx(mean.value)
    assert "the mean over 4 learning rates" in found.evidence
    assert found.recipe == "baseline"


def test_a_gauge_that_moves_no_entropy_tells_nothing_of_it():
    found = finding_of(crossed(gauge=(0.3, 0.0), moved=0.0), causes, "gauge_changes_learning")
    assert found.verdict == "not tested"
    assert "nothing is told of entropy" in found.evidence


@pytest.mark.parametrize(
    ("without", "says"),
    [
        (["turned"], "No variant of kind gauge with quantile 0.5, boost 2 at step 400."),
        (["turned", "woken"], "No variant of kind gauge and resuscitate with quantile 0.5"),
        (["original"], "Nothing that counts was learned at step 400 as original."),
    ],
)
def test_without_an_arm_it_is_said_and_not_tested(without, says):
    made = crossed(gauge=(0.3, 0.0), without=without)
    found = [each for each in causes(made.measured()) if each.claim in CLAIMS]
    assert [each.verdict for each in found] == ["not tested"] * 4
    assert all(each.evidence.startswith(says) for each in found)
    assert effects(made).empty


def test_resuscitation_alone_claims_nothing_of_causes():
    assert not verdicts(crossed(without=["turned", "bent"]))


def test_other_multipliers_are_no_part_of_it():
    other = {"woken2": ({"kind": "resuscitate", "quantile": 0.5, "boost": 3.0}, (1.0, 0.0))}
    made = crossed(without=["woken"], controls=other)
    found = finding_of(made, causes, "function_changes_learning")
    assert found.verdict == "not tested"
    assert "boost 2 at" in found.evidence


SURELY: Change = (0.5, 0.05)
SCATTER = [(0.02, 0.0), (-0.02, 0.0), (0.03, 0.0), (-0.03, 0.0)]


def dormancy(invented: Invented) -> dict[str | None, Finding]:
    """Return the findings about dormant memories by variant."""
    return {each.variant: each for each in causes(invented.measured()) if each.claim == DORMANT}


def test_dormant_rows_must_beat_every_draw():
    found = dormancy(crossed(interaction=SURELY, controls=draws(*SCATTER)))
    assert found["woken"].verdict == "supported"
    assert "surely above that of 4 of 4" in found["woken"].evidence
    assert found["turned"].verdict == "not tested"
    assert "No draw of kind permuted, of: gauge and" in found["turned"].evidence


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ([*SCATTER, (0.9, 0.0)], "not supported"),  # one draw is as good, and better
        ([*SCATTER, (0.48, 0.0)], "inconclusive"),  # beyond all, but not beyond their scatter
        ([(change, 0.2) for change, _ in SCATTER], "not supported"),  # old knowledge is lost
        (SCATTER[:1], "not tested"),  # one draw tells nothing of draws
    ],
    ids=["beaten", "scattered", "harmed", "one"],
)
def test_what_is_not_specific_to_dormant_rows_is_not_called_so(changes, verdict):
    made = crossed(interaction=(0.5, 0.0), controls=draws(*changes))
    assert dormancy(made)["woken"].verdict == verdict


def between_runs(*gauges: float) -> dict[str, Finding]:
    """Return the findings of a family, whose runs of pretraining have these effects of a gauge."""
    names = [f"run{number}" for number in range(len(gauges))]
    runs = [
        crossed(
            model=name,
            families=dict.fromkeys(names, "nursery"),
            gauge=(gauge, 0.0),
            seeds=(0,),
            generator=np.random.default_rng(place),
        )
        for place, (name, gauge) in enumerate(zip(names, gauges, strict=True))
    ]
    found = list(causes_between_runs([run.measured() for run in runs]))
    assert {family for family, _ in found} <= {"nursery"}
    return {finding.claim: finding for _, finding in found}


def test_between_runs_of_pretraining_the_run_is_the_unit():
    alike = between_runs(0.3, 0.32, 0.28)["gauge_changes_learning"]
    assert alike.verdict == "supported"
    assert alike.estimate.value == pytest.approx(0.3, abs=0.03)
    assert "the mean over 3 runs of pretraining" in alike.evidence
    # each run by itself is sure of its own effect
    scattered = between_runs(0.6, -0.3, 0.3)["gauge_changes_learning"]
    assert scattered.verdict == "inconclusive"
    assert not between_runs(0.3)


def test_controls_are_rows_with_the_draws_that_are_beaten():
    controls = {
        **draws((0.1, 0.0), (0.7, 0.0)),
        **draws((0.2, 0.1), kind="top"),
        **draws((0.0, 0.0), (0.1, 0.0), (0.2, 0.0), kind="noise", of="gauge"),
    }
    made = crossed(interaction=(0.5, 0.0), gauge=(0.1, 0.0), controls=controls, noise=0.005)
    table = effects(made, quantity="performance_after").set_index(["effect", "variant"])
    permuted = table.loc["permuted", "woken"]
    assert permuted["value"] == pytest.approx(0.2, abs=0.01)
    assert (permuted["num_draws"], permuted["num_beaten"]) == (2, 1)
    top = table.loc["top", "woken"]
    assert top["low"] < 0.4 < top["high"]
    assert (top["num_draws"], top["num_beaten"]) == (1, 1)
    assert table.loc["noise", "turned"]["num_draws"] == 3
    of_old = effects(made, quantity="accuracy_after", effect="top").iloc[0]
    assert (of_old["value"], of_old["num_beaten"]) == (pytest.approx(-0.1), 0)
    lost = effects(made, quantity="forgetting_above_chance", effect="top").iloc[0]
    assert lost["value"] > 0
    assert lost["num_beaten"] == 0


def test_controls_are_not_said_to_learn_more_than_the_original():
    made = crossed(controls=draws(*SCATTER), growth=(1, 1, 1, 1))
    assert {found.variant for found in learning_rates(made.measured())} == {
        "turned",
        "bent",
        "woken",
    }


def test_the_rows_are_a_table(tmp_path):
    rows = effects(crossed(controls=draws(*SCATTER[:1]), growth=(1, 1)))
    rows = rows.astype({"num_draws": "Int64", "num_beaten": "Int64"})
    write_table(tmp_path / "effects.parquet", rows, EFFECTS)
    table = read_frame(tmp_path / "effects.parquet", EFFECTS)
    assert len(table) == 3 * (3 + 1) * 4
    one = table[table["effect"] == "permuted"]
    assert one["value"].notna().all()
    assert one["low"].isna().all()


@pytest.mark.parametrize(
    ("alone", "verdict"),
    [((0.3, 0.0), "supported"), ((-0.3, 0.0), "supported"), ((0.0, 0.0), "not supported")],
)
def test_entropy_alone_is_the_gauge_of_which_learning_knows(alone, verdict):
    """What the gauge does when learning does not know of it is no part of this."""
    made = crossed(gauge=(0.5, 0.1), alone=alone, growth=(1.0, 1.0), noise=0.01, num_items=2000)
    found = finding_of(made, entropy_alone, ALONE)
    assert found.verdict == verdict
    assert found.estimate.value == pytest.approx(alone[0], abs=0.02)
    assert (found.recipe, found.variant) == ("compensated", "turned")
    (row,) = effects(made, effect="entropy alone", quantity="performance_after").to_dict("records")
    assert row["value"] == pytest.approx(found.estimate.value)
    assert (row["recipe"], row["num_seeds"]) == ("compensated", 3)
    # the 2 x 2 rests on the recipes that leave a gauge what it is
    assert {each.recipe for each in causes(made.measured())} == {"baseline"}


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({}, "learned by no common recipe with compensate_gauge"),
        ({"alone": (0.3, 0.0), "moved": 0.0}, "nothing is told of entropy"),
        ({"alone": (0.3, 0.0), "without": ["original"]}, "learned by no common recipe"),
    ],
    ids=["uncompensated", "unmoved", "alone"],
)
def test_what_tells_nothing_of_entropy_alone_is_not_tested(told, says):
    found = finding_of(crossed(**told), entropy_alone, ALONE)
    assert found.verdict == "not tested"
    assert says in found.evidence


def test_entropy_alone_between_runs_has_the_run_as_unit():
    names = ["run0", "run1", "run2"]
    runs = [
        crossed(
            model=name,
            families=dict.fromkeys(names, "nursery"),
            alone=(alone, 0.0),
            seeds=(0,),
            generator=np.random.default_rng(place),
        )
        for place, (name, alone) in enumerate(zip(names, (0.6, -0.3, 0.3), strict=True))
    ]
    ((family, found),) = entropy_alone_between_runs([run.measured() for run in runs])
    assert (family, found.verdict) == ("nursery", "inconclusive")
    assert found.estimate.value == pytest.approx(0.2, abs=0.05)
    assert not list(entropy_alone_between_runs([runs[0].measured()]))


def test_they_are_secondary_and_corrected():
    told = judged(crossed(gauge=(0.3, 0.0)))
    chosen = told[told["claim"].isin(CLAIMS)]
    assert not chosen["is_primary"].any()
    assert chosen["adjusted_p_value"].notna().all()
    assert (chosen["adjusted_p_value"] >= chosen["p_value"]).all()


def test_intervals_of_effects_hold_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(1)
    truth = {"function": 0.15, "gauge": -0.05, "interaction": 0.1}
    held = []
    for _ in range(40):
        made = crossed(
            function=(0.1, 0.0),
            gauge=(-0.1, 0.0),
            interaction=(0.1, 0.0),
            noise=0.1,
            growth=(1, 1),
            generator=generator,
        )
        table = effects(made, quantity="performance_after", recipe=None).set_index("effect")
        held += [
            table.loc[name, "low"] <= value <= table.loc[name, "high"]
            for name, value in truth.items()
        ]
    assert 0.9 <= np.mean(held) <= 0.995


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=len)
def test_one_more_draw_is_hardly_ever_called_specific(seeds):
    """Waking the dormant is as good as a draw, no more: whom it beats is chance."""
    generator = np.random.default_rng(2)
    supported, missed = [], []
    for _ in range(50):
        own, *others = generator.normal(scale=0.2, size=5)
        made = crossed(
            function=(own, 0.0),
            controls=draws(*((other, 0.0) for other in others)),
            seeds=seeds,
            noise=0.05,
            generator=generator,
        )
        found = dormancy(made)["woken"]
        missed.append(not found.estimate.low <= 0 <= found.estimate.high)
        supported.append(found.verdict == "supported")
    assert np.mean(missed) <= 0.1
    assert np.mean(supported) <= 0.05
