"""The whole study in one table; correlations against scipy; every verdict from constructed data."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ke_steps import summarize
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.places import Identity, corpus_of, identify
from ke_steps.artefacts.summary_schemas import (
    CORRELATIONS,
    CURVES,
    DISTRIBUTIONS,
    MEMORY_TABLE,
    NOVELTY_QUANTILES,
    RANKINGS,
    RETAINED_CURVES,
)
from ke_steps.artefacts.text_schemas import NOVELTY
from ke_steps.claims.estimates import SeedSpread, difference_of, mean_of, pooled_spread
from ke_steps.formulas.ratios import acquisition, forgetting
from ke_steps.job.errors import UserError
from ke_steps.summary.correlations import correlate
from ke_steps.summary.quantities import show, unit_of
from ke_steps.summary.rows import novelty_rows
from tests.invented.study import INPUTS, SETTINGS, SyntheticStudy

# --- Identity, formulas -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "results/evaluate_knowledge/olmo/step738020/original/lr1e-4/seed3/knowledge.parquet",
            Identity("olmo", 738020, "original", "lr1e-4", 3),
        ),
        (
            "/a/step1/b/x/aggregate_entropy/m/step0/boost_p50_q2/entropy.parquet",
            Identity("m", 0, "boost_p50_q2", None, None),
        ),
        (
            "/a/step1/b/aggregate_entropy/m/step0/original/c4/entropy.parquet",
            Identity("m", 0, "original", None, None),
        ),
        ("fetch_checkpoint/m/step7/manifest.json", Identity("m", 7, "original", None, None)),
        ("describe_memories/m/step7/memories.parquet", Identity("m", 7, "original", None, None)),
    ],
)
def test_identity_is_read_from_the_right_end(path: str, expected: Identity) -> None:
    assert identify(Path(path)) == expected


def test_a_path_without_identity_is_refused() -> None:
    with pytest.raises(UserError, match="no model and step"):
        identify(Path("results/summarize/summary.parquet"))


def test_a_corpus_is_read_from_the_last_folder() -> None:
    assert corpus_of(Path("x/m/step5/original/c4/coefficients.parquet")) == "c4"
    with pytest.raises(UserError, match="no corpus"):
        corpus_of(Path("x/m/step5/original/coefficients.parquet"))


def test_acquisition_and_forgetting_are_relative_reductions() -> None:
    assert acquisition(-8.0, -6.0) == pytest.approx(0.25)
    assert acquisition(-8.0, -10.0) == pytest.approx(-0.25)
    assert forgetting([0.8, 0.5], [0.6, 0.6]) == pytest.approx([0.25, -0.2])
    assert math.isnan(forgetting(0.0, 0.5))


def test_quantities_know_their_unit_and_refuse_a_stranger() -> None:
    assert unit_of("entropy_nats") == "nats"
    assert show(-0.105, "fraction") == "−10.5 %"
    with pytest.raises(UserError, match="known: entropy_nats"):
        unit_of("wisdom")


# --- The tidy table ---------------------------------------------------------------------------


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


def test_the_interval_of_a_median_covers_it_as_often_as_it_says(tmp_path: Path) -> None:
    generator, covered = np.random.default_rng(1), 0
    for _ in range(200):
        losses = generator.normal(3, 1, size=40)
        rows = [
            {"corpus": "c4", "document_id": str(n), "num_tokens": 9, "loss_nats": loss}
            for n, loss in enumerate(losses)
        ]
        write_table(tmp_path / "novelty.parquet", rows, NOVELTY)
        (row,) = novelty_rows(tmp_path / "novelty.parquet", 0.9).to_dict("records")
        assert row["value"] == pytest.approx(np.exp(np.median(losses)))
        covered += row["low"] <= math.exp(3) <= row["high"]
    assert 0.87 < covered / 200 < 0.99


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


def test_curves_average_probes_then_passages(tables: dict[str, Path]) -> None:
    curves = read_frame(tables["curves"], CURVES)
    start = curves[(curves["moment"] == "start") & (curves["condition"] == "all")]
    assert start["performance"].to_numpy() == pytest.approx(-8.25)
    one = curves[(curves["step"] == 0) & (curves["seed"] == 0) & (curves["condition"] == "once")]
    assert list(one["moment"]) == ["start", *["before", "after"] * 5, "end"]
    assert one["train_step"].is_monotonic_increasing


def test_distributions_are_quantile_functions_around_one(tables: dict[str, Path]) -> None:
    table = read_frame(tables["distributions"], DISTRIBUTIONS)
    for _, curve in table.groupby(["step", "variant", "layer"]):
        assert len(curve) == 101
        assert curve["quantile"].iloc[0] == 0.001
        assert curve["relative_activity"].is_monotonic_increasing
        assert curve["relative_activity"].iloc[0] < 1 < curve["relative_activity"].iloc[-1]


def test_a_run_without_its_accuracies_before_is_refused(tmp_path: Path) -> None:
    class Forgetful(SyntheticStudy):
        def summarise(self, files: dict[str, list[Path]]) -> dict[str, Path]:
            return super().summarise({**files, "retention_before": []})

    with pytest.raises(UserError, match="--retention-before"):
        Forgetful(tmp_path, steps=(100,), variants={}).build()


@pytest.mark.parametrize(
    "names", [summarize.TABLES.keys() - {"claims"}, summarize.TABLES.keys() | {"claims2"}]
)
def test_tables_are_asked_for_by_their_names(tmp_path: Path, names: set[str]) -> None:
    paths = [tmp_path / f"{name}.parquet" for name in names]
    nothing: dict[str, list[Path]] = {name: [] for name in INPUTS}
    with pytest.raises(UserError, match=r"--output-tables disagree about: claims2?$"):
        summarize.run(**nothing, output_tables=paths, settings=SETTINGS)
    assert not list(tmp_path.iterdir())


# --- Correlations and estimates ---------------------------------------------------------------


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlations_equal_scipy(method: str) -> None:
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=12), generator.normal(size=12)
    expected = getattr(stats, f"{method}r")(x, y)
    found = correlate(x, y, method, SETTINGS)
    assert found["value"] == pytest.approx(expected.statistic)
    assert found["p_value"] == pytest.approx(expected.pvalue)
    assert -1 <= found["low"] < found["value"] < found["high"] <= 1
    assert found == correlate(x, y, method, SETTINGS)


def test_the_p_value_of_few_ranks_is_exact() -> None:
    x = np.arange(5.0)
    assert correlate(x, x**2, "spearman", SETTINGS)["p_value"] == pytest.approx(2 / 120)
    y = np.array([2.0, 1, 4, 3, 3])
    expected = stats.permutation_test(
        (y,), lambda order: stats.spearmanr(x, order).statistic, permutation_type="pairings"
    )
    found = correlate(x, y, "spearman", SETTINGS)
    assert found["p_value"] == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(
    ("x", "y"), [([1.0, 2, 3], [1.0, 2, 4]), ([1.0, 1, 1, 1, 1], [1.0, 2, 3, 4, 5])]
)
def test_too_few_points_or_a_constant_give_no_correlation(x: list[float], y: list[float]) -> None:
    found = correlate(np.array(x), np.array(y), "pearson", SETTINGS)
    assert all(math.isnan(value) for value in found.values())


def test_the_untrained_model_is_no_stage(tables: dict[str, Path]) -> None:
    pairs = read_frame(tables["correlations"], CORRELATIONS)
    assert set(pairs["num_points"]) == {5}


def test_a_mean_over_seeds_adds_both_errors() -> None:
    runs = pd.DataFrame({"seed": [0, 1], "value": [1.0, 3.0], "low": [0.5, 2.5]})
    runs["high"] = runs["value"] + 0.5
    error = 0.5 / stats.norm.ppf(0.975)
    without = mean_of(runs, SeedSpread(0.0, 0), 0.95)
    assert without == pytest.approx((2.0, 1.5, 2.5))
    half_width = mean_of(runs, SeedSpread(2.0, 1_000_000), 0.95).high - 2
    assert half_width == pytest.approx(stats.norm.ppf(0.975) * math.sqrt(error**2 + 1), rel=1e-4)
    assert mean_of(runs, SeedSpread(2.0, 1), 0.95).high - 2 > 2 * half_width
    assert difference_of(runs, runs, SeedSpread(2.0, 9), 0.95).value == 0
    assert math.isnan(mean_of(runs.head(0), SeedSpread(0.0, 0), 0.95).value)


def test_the_spread_between_seeds_is_pooled_over_states() -> None:
    runs = pd.DataFrame(
        {"step": [1, 1, 2, 2], "variant": ["original"] * 4, "value": [0.0, 2.0, 10.0, 14.0]}
    )
    assert pooled_spread(runs) == SeedSpread(pytest.approx((2 + 8) / 2), 2)
    assert pooled_spread(runs.iloc[[0, 2]]) == SeedSpread(0.0, 0)
