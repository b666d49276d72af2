"""The whole study in one tidy table, and the tables beside it."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from ke_steps import summarize
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.places import Identity
from ke_steps.artefacts.summary_schemas import (
    CLAIMS,
    DOSES,
    DOWNSTREAM,
    EFFECTS,
    ESTIMATES,
    FRONTIERS,
    MEMORY_TABLE,
    NOVELTY_QUANTILES,
    RANKINGS,
    RETAINED_CURVES,
    SUMMARY,
)
from ke_steps.formulas.bootstrap import sampling_interval
from ke_steps.job.errors import UserError
from ke_steps.summary.quantities import QUANTITIES, Measure
from ke_steps.summary.replicates import Replicates
from tests.invented.study import INPUTS, SETTINGS, SyntheticStudy


def test_every_quantity_of_every_run_is_there(summary: pd.DataFrame) -> None:
    runs = summary.dropna(subset=["recipe"])[["step", "variant", "seed"]].drop_duplicates()
    assert len(runs) == 6 * 2 + 2 * 2
    assert set(summary["variant"]) == {"original", "boost_p50_q2"}
    layers = summary[(summary["quantity"] == "entropy_nats") & (summary["step"] == 400)]
    groups = ["model", "layer 0", "layer 1", "layer 2", "layer 3"]
    assert list(layers["group"]) == [*groups, *(f"c4/{group}" for group in groups)]
    bound = summary.loc[summary["quantity"] == "entropy_bound_nats", "value"]
    assert bound.to_numpy() == pytest.approx(4 * math.log(384))
    loss = summary.loc[summary["quantity"] == "training_loss", "value"]
    assert loss.to_numpy() == pytest.approx(3.0 - 0.01 * 57.5)


def of(summary: pd.DataFrame, quantity: str, group: str) -> pd.DataFrame:
    """Return the rows of one quantity in one group, at the last original checkpoint."""
    is_last = (summary["step"] == 2000) & (summary["variant"] == "original")
    return summary[is_last & (summary["quantity"] == quantity) & (summary["group"] == group)]


@pytest.mark.parametrize(
    ("quantity", "group", "unit", "expected"),
    [
        ("contribution_entropy_nats", "model", "nats", 4 * (5.5 - 0.4) - 0.01 * 5 * 7),
        ("contribution_gini", "model", "fraction", 0.3),
        ("entropy_nats", "c4/model", "nats", 4 * 5.5 - 0.01 * 6 * 7),
        ("attention_entropy_nats", "layer 2", "nats", 2.0 - 0.25 + 0.2),
        ("next_token_entropy_nats", "model", "nats", 4.0 - 1.5),
        ("median_perplexity", "continual", "", math.exp(5.0)),
    ],
)
def test_measures_and_corpora_have_names_of_their_own(
    summary: pd.DataFrame, quantity: str, group: str, unit: str, expected: float
) -> None:
    (row,) = of(summary, quantity, group).to_dict("records")
    assert row["value"] == pytest.approx(expected)
    assert row["unit"] == unit
    assert row["low"] < row["value"] < row["high"]
    assert pd.isna(row["recipe"])


def test_updates_and_decay_belong_to_runs(summary: pd.DataFrame) -> None:
    for quantity, group in (
        ("memory_update_entropy_nats", "layer 3"),
        ("key_update_correlation_spearman", "model"),
        ("retainability", "once/all"),
    ):
        rows = of(summary, quantity, group)
        assert rows["recipe"].tolist() == ["baseline", "baseline"]
        assert rows["seed"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("quantity", "group", "num_items"),
    [
        ("entropy_nats", "layer 2", 16),
        ("median_perplexity", "continual", 101),
        ("performance_after", "once/semantic", 12),
        ("exact_match_before", "all/all", 24),
        ("acquisition_from_original", "all/all", 24),
        ("retainability", "once/all", 12),
        ("accuracy_before", "sciq", 200),
        ("forgetting_above_chance", "mean", 400),
        ("bits_per_token_after", "held_out", 64),
        ("training_loss", "model", None),
        ("memory_update_correlation_p_value", "model", None),
        ("entropy_bound_nats", "model", None),
    ],
)
def test_rows_say_how_many_were_sampled(
    summary: pd.DataFrame, quantity: str, group: str, num_items: int | None
) -> None:
    found = of(summary, quantity, group)["num_items"]
    assert len(found) > 0
    assert found.isna().all() if num_items is None else set(found) == {num_items}
    assert bool(QUANTITIES[quantity].units) == (num_items is not None)


def test_chance_is_told_once_per_state(summary: pd.DataFrame) -> None:
    chance = summary[summary["quantity"] == "chance"]
    assert chance["recipe"].isna().all()
    assert len(chance) == 8 * 3
    assert chance["value"].to_numpy() == pytest.approx(0.1)
    assert chance[["low", "high"]].isna().all(axis=None)


def test_intervals_lie_around_their_values_within_bounds(summary: pd.DataFrame) -> None:
    known = summary.dropna(subset=["low"])
    for quantity, rows in known.groupby("quantity"):
        lowest, highest = QUANTITIES[quantity].bounds
        assert (rows["low"] >= lowest).all(), quantity
        assert (rows["high"] <= highest).all(), quantity
        assert (rows["low"] <= rows["value"] + 1e-12).all(), quantity
        assert (rows["value"] - 1e-12 <= rows["high"]).all(), quantity


def test_tables_and_replicates_are_of_the_same_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every measurement's row has the value and the interval of its replicates."""
    given: dict[str, list[Path]] = {}
    whole = summarize.run
    monkeypatch.setattr(summarize, "run", lambda **files: [given.update(files), whole(**files)])
    tables = SyntheticStudy(tmp_path, steps=(0, 1200)).build()
    summary = read_frame(tables["summary"], SUMMARY)
    replicates = Replicates.read(given["replicates"], {"nursery": "pretraining"}, 0.95)
    num_found = 0
    for row in summary.astype(object).where(summary.notna(), None).to_dict("records"):
        measure = Measure(row["quantity"], row["group"])
        identity = Identity(*(row[key] for key in Identity._fields))
        found = replicates.of(measure, identity)
        if found is not None and row["quantity"] != "chance":
            num_found += 1
            bounds = QUANTITIES[row["quantity"]].bounds
            interval = sampling_interval(found.value, found.replicates, 0, 0.95, bounds)
            assert row["value"] == pytest.approx(found.value)
            assert (row["low"], row["high"]) == pytest.approx(interval)
    assert num_found > 100


def test_a_study_without_the_extras_has_empty_tables(tmp_path: Path) -> None:
    tables = SyntheticStudy(tmp_path, steps=(2000,), variants={}, is_plain=True).build()
    for name, schema in (
        ("memories", MEMORY_TABLE),
        ("rankings", RANKINGS),
        ("novelty", NOVELTY_QUANTILES),
        ("retained", RETAINED_CURVES),
    ):
        assert len(read_frame(tables[name], schema)) == 0


def test_tables_of_checkpoints_and_runs_are_joined(tables: dict[str, Path]) -> None:
    memories = read_frame(tables["memories"], MEMORY_TABLE)
    assert len(memories) == 6 * 4 * 2 * 3
    assert list(memories["tokens"].iloc[0]) == [" river", "\n", "<b>0</b>"]
    retained = read_frame(tables["retained"], RETAINED_CURVES)
    assert len(retained) == 16 * 3 * 5
    novelty = read_frame(tables["novelty"], NOVELTY_QUANTILES)
    median = novelty[(novelty["quantile"] == 0.5) & (novelty["corpus"] == "pretraining")]
    assert median["perplexity"].tolist() == pytest.approx([math.exp(3.0)])


def test_forgetting_pairs_each_run_with_its_own_checkpoint(summary: pd.DataFrame) -> None:
    keys = ["step", "variant", "group"]
    of = dict(iter(summary.groupby("quantity")))
    pairs = (
        of["forgetting"]
        .merge(of["accuracy_before"][[*keys, "value"]], on=keys, suffixes=("", "_before"))
        .merge(of["accuracy_after"][[*keys, "seed", "value"]], on=[*keys, "seed"])
    )
    assert len(pairs) == len(of["forgetting"]) == 16 * 3
    expected = -(pairs["value_y"] - pairs["value_before"]) / pairs["value_before"]
    assert pairs["value_x"].to_numpy() == pytest.approx(expected.to_numpy())
    assert (pairs["low"] < pairs["value_x"]).all()


def test_rows_do_not_depend_on_the_order_of_files(tmp_path: Path) -> None:
    class Reversed(SyntheticStudy):
        def summarise(self, files: dict[str, list[Path]]) -> dict[str, Path]:
            return super().summarise({name: paths[::-1] for name, paths in files.items()})

    forward = SyntheticStudy(tmp_path / "a", steps=(0, 100), variants={}).build()
    backward = Reversed(tmp_path / "b", steps=(0, 100), variants={}).build()
    for name, path in forward.items():
        assert path.read_bytes() == backward[name].read_bytes(), name


def test_a_run_without_its_accuracies_before_is_refused(tmp_path: Path) -> None:
    class Forgetful(SyntheticStudy):
        def summarise(self, files: dict[str, list[Path]]) -> dict[str, Path]:
            return super().summarise({**files, "retention_before": []})

    with pytest.raises(UserError, match="--retention-before"):
        Forgetful(tmp_path, steps=(100,), variants={}).build()


def test_doses_are_compared_state_by_state_and_judged(tmp_path: Path) -> None:
    study = SyntheticStudy(
        tmp_path,
        steps=(100, 400),
        variants={"boost_p50_q2": (400,)},
        recipes=("plain", "dosed", "faster"),
        doses={"plain": {"plain": 0.0, "dosed": 2.0}},
        is_plain=True,
    )
    tables = study.build()
    doses = read_frame(tables["doses"], DOSES)
    assert set(doses["recipe"] + " " + doses["reference"]) == {"dosed plain"}
    states = doses.loc[doses["quantity"] == "performance_after", ["step", "variant"]]
    expected = {(100, "original"), (400, "original"), (400, "boost_p50_q2")}
    assert set(states.itertuples(index=False, name=None)) == expected
    assert set(doses["quantity"]) == {
        *("performance_after", "acquisition_from_original", "accuracy_after"),
        *("forgetting_above_chance", "bits_per_token_after"),
    }
    claims = read_frame(tables["claims"], CLAIMS).set_index("claim")
    judged = claims.loc["entropy_dose_raises_performance_after"]
    told = doses.set_index(["quantity", "step", "variant"]).sort_index()
    row = told.loc["performance_after", 400, "original"]
    ends = list(row[["change", "low", "high"]])
    assert list(judged[["value", "low", "high"]]) == pytest.approx(ends)
    assert "not told at 0, not told at 2" in judged["evidence"]


@pytest.mark.parametrize(
    "names", [summarize.TABLES.keys() - {"claims"}, summarize.TABLES.keys() | {"claims2"}]
)
def test_tables_are_asked_for_by_their_names(tmp_path: Path, names: set[str]) -> None:
    paths = [tmp_path / f"{name}.parquet" for name in names]
    nothing: dict[str, list[Path]] = {name: [] for name in INPUTS}
    with pytest.raises(UserError, match=r"--output-tables disagree about: claims2?$"):
        summarize.run(**nothing, output_tables=paths, settings=SETTINGS)
    assert not list(tmp_path.iterdir())


def test_a_verdict_rests_on_the_interval_that_tables_show(tables: dict[str, Path]) -> None:
    """A claim about one mean has its estimate; one about a gain, that of the table of gains."""
    claims = read_frame(tables["claims"], CLAIMS).set_index("claim")
    estimates = of(read_frame(tables["estimates"], ESTIMATES), "acquisition", "once/all")
    ends = ["value", "low", "high"]
    assert list(claims.loc["once_knowledge_is_lost", ends]) == list(estimates[ends].iloc[0])
    gains = read_frame(tables["downstream"], DOWNSTREAM).set_index("step").loc[2000]
    changes = ["change", "change_low", "change_high"]
    gained = claims.loc["resuscitation_raises_accuracy_after", ends]
    assert list(gained) == pytest.approx(list(gains[changes]))


def test_recipes_that_differ_in_learning_rate_make_frontiers(tmp_path: Path) -> None:
    rates = {f"rate{number}": 1e-3 * number for number in (1, 2, 3, 4)}
    study = SyntheticStudy(
        tmp_path, steps=(100, 400), variants={}, recipes=tuple(rates), is_plain=True
    )
    study.frontiers = {"rate1": rates}
    frontiers = read_frame(study.build()["frontiers"], FRONTIERS)
    assert frontiers["learning_rate"].to_list() == 2 * list(rates.values())
    assert frontiers["area_low"].lt(frontiers["area_nats"]).all()
    assert frontiers.groupby("step")["num_halves_best"].sum().to_dict() == {100: 2, 400: 2}


def test_gauge_function_and_both_make_effects(tmp_path: Path) -> None:
    variants = dict.fromkeys(("gauge", "function", "boost"), (400,))
    study = SyntheticStudy(tmp_path, steps=(100, 200, 300, 400), variants=variants, is_plain=True)
    tables = study.build()
    effects = read_frame(tables["effects"], EFFECTS)
    outcomes = effects.groupby("effect", sort=False)["quantity"].nunique()
    assert outcomes.to_dict() == {"function": 4, "gauge": 4, "interaction": 4}
    assert effects["low"].lt(effects["value"]).all()
    claims = read_frame(tables["claims"], CLAIMS).set_index("claim")
    gauge = effects[(effects["effect"] == "gauge") & (effects["quantity"] == "performance_after")]
    ends = ["value", "low", "high"]
    told = claims.loc["gauge_changes_learning", ends]
    assert list(told) == pytest.approx(list(gauge[ends].iloc[0]))
