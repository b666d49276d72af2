"""The whole study in one table; correlations against scipy; every verdict from constructed data."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_study import SETTINGS, SyntheticStudy, entropy

from ke_steps import _tables
from ke_steps._claims import claims
from ke_steps._correlations import correlate, correlations
from ke_steps._errors import UserError
from ke_steps._estimates import (
    Estimate,
    SeedSpread,
    difference_of,
    mean_of,
    pooled_spread,
)
from ke_steps._findings import verdict
from ke_steps._identity import Identity, identify
from ke_steps._metrics import acquisition, forgetting
from ke_steps._quantities import show, unit_of


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return SyntheticStudy(tmp_path_factory.mktemp("study")).build()


@pytest.fixture
def summary(tables: dict[str, Path]) -> pd.DataFrame:
    return _tables.read_frame(tables["summary"], _tables.SUMMARY)


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
        ("fetch_checkpoint/m/step7/manifest.json", Identity("m", 7, "original", None, None)),
        ("r/m/step5/step7/entropy.parquet", Identity("m", 5, "step7", None, None)),
        ("r/m/step5/seed7/entropy.parquet", Identity("m", 5, "seed7", None, None)),
    ],
)
def test_identity_is_read_from_the_right_end(path: str, expected: Identity) -> None:
    assert identify(Path(path)) == expected


def test_a_path_without_identity_is_refused() -> None:
    with pytest.raises(UserError, match="no model and step"):
        identify(Path("results/summarize/summary.parquet"))


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
    assert list(layers["group"]) == ["model", "layer 0", "layer 1", "layer 2", "layer 3"]
    bound = summary.loc[summary["quantity"] == "entropy_bound_nats", "value"]
    assert bound.to_numpy() == pytest.approx(4 * math.log(384))
    loss = summary.loc[summary["quantity"] == "training_loss", "value"]
    assert loss.to_numpy() == pytest.approx(3.0 - 0.01 * 57.5)


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
    curves = _tables.read_frame(tables["curves"], _tables.CURVES)
    start = curves[(curves["moment"] == "start") & (curves["condition"] == "all")]
    assert start["performance"].to_numpy() == pytest.approx(-8.25)
    one = curves[(curves["step"] == 0) & (curves["seed"] == 0) & (curves["condition"] == "once")]
    assert list(one["moment"]) == ["start", *["before", "after"] * 5, "end"]
    assert one["train_step"].is_monotonic_increasing


def test_distributions_are_quantile_functions_around_one(tables: dict[str, Path]) -> None:
    table = _tables.read_frame(tables["distributions"], _tables.DISTRIBUTIONS)
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
    pairs = _tables.read_frame(tables["correlations"], _tables.CORRELATIONS)
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


# --- Verdicts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([(1, 0.5, 1.5), (2, 1, 3)], "supported"),
        ([(1, 0.5, 1.5), (-1, -2, -0.1)], "not supported"),
        ([(1, 0.5, 1.5), (0, -1, 1)], "inconclusive"),
        ([(math.nan, math.nan, math.nan)], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_one_rule_for_every_verdict(
    intervals: list[tuple[float, float, float]], expected: str
) -> None:
    assert verdict([Estimate(*interval) for interval in intervals]) == expected


def judge(summary: pd.DataFrame) -> dict[str, str]:
    pairs = pd.DataFrame(correlations(summary, SETTINGS), columns=_tables.CORRELATIONS.names)
    return {row["claim"]: row["verdict"] for row in claims(summary, pairs, SETTINGS)}


def changed(
    summary: pd.DataFrame, quantity: str, group: str, value: object, variant: str = "original"
) -> pd.DataFrame:
    """Return a summary in which a quantity is ``value(step, old)``; intervals keep their width."""
    table = summary.copy()
    rows = (
        (table["quantity"] == quantity) & (table["group"] == group) & (table["variant"] == variant)
    )
    steps, old = table.loc[rows, "step"], table.loc[rows, "value"]
    new = [value(step, was) for step, was in zip(steps, old, strict=True)]
    shift = np.array(new) - old.to_numpy()
    for column in ("value", "low", "high"):
        table.loc[rows, column] += shift
    return table


def hump(step: int, _: float) -> float:
    return -6.0 if step == 800 else -7.0


WOBBLE = {0: 0.0, 100: 0.3, 400: -0.4, 800: 0.5, 1200: -0.5, 2000: 0.1}

CASES = {
    "entropy_falls": (
        "entropy_nats",
        "model",
        {
            "supported": lambda step, _: 22 - step / 1e4,
            "not supported": lambda step, _: 22 + step / 1e4,
            "inconclusive": lambda step, _: 22.0,
        },
    ),
    "every_layer_falls": (
        "entropy_nats",
        "layer 1",
        {
            "supported": lambda step, _: 5 - step / 1e4,
            "not supported": lambda step, _: 5 + step / 1e4,
            "inconclusive": lambda step, _: 5.0,
        },
    ),
    "last_layer_falls_most": (
        "entropy_nats",
        "layer 3",
        {
            "supported": lambda step, _: 5 - step / 1e3,
            "not supported": lambda step, _: 5 + step / 1e3,
            "inconclusive": lambda step, _: 5.5 - 0.04 * (step > 100),
        },
    ),
    "acquisition_falls_with_entropy": (
        "acquisition",
        "all/all",
        {
            "supported": lambda step, old: old,
            "not supported": lambda step, old: -old,
            "inconclusive": lambda step, _: WOBBLE[step],
        },
    ),
    "forgetting_rises_as_entropy_falls": (
        "forgetting",
        "mean",
        {
            "supported": lambda step, old: old,
            "not supported": lambda step, old: -old,
            "inconclusive": lambda step, _: WOBBLE[step],
        },
    ),
    "performance_after_best_at_mid_stage": (
        "performance_after",
        "all/all",
        {
            "supported": hump,
            "not supported": lambda step, _: -7 + step / 1e3,
            "inconclusive": lambda step, _: -7.0,
        },
    ),
    "accuracy_after_best_at_mid_stage": (
        "accuracy_after",
        "mean",
        {
            "supported": lambda step, _: 0.7 if step == 400 else 0.5,
            "not supported": lambda step, _: 0.7 if step == 100 else 0.5,
            "inconclusive": lambda step, _: 0.5,
        },
    ),
    "once_knowledge_is_lost": (
        "acquisition",
        "once/all",
        {
            "supported": lambda step, _: -0.2,
            "not supported": lambda step, _: 0.2,
            "inconclusive": lambda step, _: 0.0,
        },
    ),
    "resuscitation_raises_entropy": (
        "entropy_nats",
        "model",
        {
            "supported": lambda step, _: 20.0,
            "not supported": lambda step, _: 23.0,
            "inconclusive": lambda step, _: 21.755,
        },
    ),
    "resuscitation_improves_acquisition": (
        "acquisition",
        "all/all",
        {
            "supported": lambda step, _: 0.0,
            "not supported": lambda step, _: 0.9,
            "inconclusive": lambda step, _: 0.165,
        },
    ),
    "resuscitation_lowers_forgetting": (
        "forgetting",
        "mean",
        {
            "supported": lambda step, _: 0.9,
            "not supported": lambda step, _: 0.0,
            "inconclusive": lambda step, _: 0.155,
        },
    ),
}


def ending_at(summary: pd.DataFrame, variant: str, performance: float, accuracy: float):
    """Return a summary in which a variant ends at the same K and P at every stage."""
    summary = changed(summary, "performance_after", "all/all", lambda step, _: performance, variant)
    return changed(summary, "accuracy_after", "mean", lambda step, _: accuracy, variant)


@pytest.mark.parametrize("expected", ["supported", "not supported", "inconclusive"])
@pytest.mark.parametrize("claim", CASES)
def test_each_claim_reaches_each_verdict(summary: pd.DataFrame, claim: str, expected: str) -> None:
    quantity, group, values = CASES[claim]
    if claim.startswith("resuscitation"):
        for variant in ("original", "boost_p50_q2"):
            summary = ending_at(summary, variant, -6.0, 0.6)
    assert judge(changed(summary, quantity, group, values[expected]))[claim] == expected


@pytest.mark.parametrize("damaged", [True, False])
def test_a_damaged_model_that_regains_much_is_no_support(summary: pd.DataFrame, damaged: bool):
    summary = changed(summary, "acquisition", "all/all", lambda step, _: 0.9, "boost_p50_q2")
    summary = changed(summary, "forgetting", "mean", lambda step, _: -0.9, "boost_p50_q2")
    summary = ending_at(summary, "original", -6.0, 0.6)
    summary = ending_at(summary, "boost_p50_q2", *((-9.0, 0.2) if damaged else (-6.0, 0.6)))
    verdicts = judge(summary)
    for claim in ("resuscitation_improves_acquisition", "resuscitation_lowers_forgetting"):
        assert verdicts[claim] == ("not supported" if damaged else "supported")


def test_a_single_checkpoint_leaves_trends_inconclusive(tmp_path: Path) -> None:
    tables = SyntheticStudy(tmp_path, steps=(2000,), seeds=(0,), variants={}).build()
    findings = _tables.read_frame(tables["claims"], _tables.CLAIMS)
    verdicts = dict(zip(findings["claim"], findings["verdict"], strict=True))
    assert verdicts.pop("once_knowledge_is_lost") == "supported"
    assert set(verdicts.values()) == {"inconclusive"}
    assert findings["evidence"].str.len().min() > 10


def test_a_bootstrap_that_is_sure_of_few_points_does_not_decide(summary: pd.DataFrame) -> None:
    pairs = pd.DataFrame(correlations(summary, SETTINGS)).assign(p_value=0.2)
    rows = {row["claim"]: row for row in claims(summary, pairs, SETTINGS)}
    row = rows["acquisition_falls_with_entropy"]
    assert row["low"] > 0
    assert row["verdict"] == "inconclusive"


def test_claims_carry_model_recipe_variant_and_unit(tables: dict[str, Path]) -> None:
    findings = _tables.read_frame(tables["claims"], _tables.CLAIMS)
    assert set(findings["claim"]) == set(CASES)
    assert set(findings["model"]) == {"nursery"}
    woken = findings[findings["claim"].str.startswith("resuscitation")]
    assert set(woken["variant"]) == {"boost_p50_q2"}
    trends = findings[findings["claim"].str.contains("with_entropy|as_entropy")]
    assert set(trends["recipe"]) == {"baseline"}


def test_the_synthetic_entropies_match_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "entropy.parquet"
    _tables.write_table(path, entropy(1.0, 2), _tables.ENTROPY)
    assert len(_tables.read_frame(path, _tables.ENTROPY)) == 4
