"""K, A and their intervals against plain loops over probes and passages."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ke_steps import evaluate_knowledge
from ke_steps.artefacts.learning_schemas import KNOWLEDGE, PROBE_SCORES
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.replicates import REPLICATES
from ke_steps.formulas.bootstrap import bootstrap_weights
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import EvaluateKnowledge

KINDS = ["memorization", "semantic", "compositional"]


def settings(**changes):
    values = {"num_bootstrap": 400, "confidence": 0.9, "seed": 3}
    return EvaluateKnowledge(**(values | changes))


def random_scores(num_paraphrase=4, num_once=3, seed=0):
    """Return probe scores at start, after and end; passages have unequal numbers of probes."""
    generator = np.random.default_rng(seed)
    rows = []
    for moment, train_step in [("start", 0), ("after", 5), ("end", 9)]:
        probe_id = 0
        for passage in range(num_paraphrase + num_once):
            for kind in KINDS:
                for _ in range(1 + (passage + len(kind)) % 3):
                    total, count = -generator.uniform(2, 20), int(generator.integers(1, 6))
                    rows.append(
                        {
                            "moment": moment,
                            "injection": 1 if moment == "after" else None,
                            "train_step": train_step,
                            "probe_id": probe_id,
                            "passage_id": passage,
                            "condition": "paraphrase" if passage < num_paraphrase else "once",
                            "kind": kind,
                            "num_target_tokens": count,
                            "log_probability_sum": total,
                            "log_probability_per_token": total / count,
                            "log_probability_reference_padded": total / 40,
                            "log_probability_first_token": -generator.uniform(0.1, 4),
                            "exact_match": bool(generator.integers(2)),
                        }
                    )
                    probe_id += 1
    frame = pd.DataFrame(rows)
    return frame.assign(injection=frame["injection"].astype("Int32"))


def knowledge_rows(scores, settings):
    return [each.row(settings.confidence) for each in evaluate_knowledge.measured(scores, settings)]


def brute_force(scores, moment, condition, kind, column):
    """Return the mean of each passage, by loops."""
    means = []
    for passage in sorted(set(scores["passage_id"])):
        values = [
            float(row[column])
            for row in scores.to_dict("records")
            if row["moment"] == moment
            and row["passage_id"] == passage
            and condition in (row["condition"], "all")
            and kind in (row["kind"], "all")
        ]
        if values:
            means.append(sum(values) / len(values))
    return np.array(means)


@pytest.mark.parametrize("score", ["per_token", "reference_padded"])
def test_rows_equal_brute_force(score):
    scores = random_scores()
    rows = pd.DataFrame(knowledge_rows(scores, settings(score=score)))
    assert len(rows) == 3 * 4 * 7
    table = rows.set_index(["condition", "kind", "quantity"])
    columns = {
        "performance": f"log_probability_{score}",
        "exact_match": "exact_match",
        "first_token_log_probability": "log_probability_first_token",
    }
    for condition in ["paraphrase", "once", "all"]:
        for kind in [*KINDS, "all"]:
            for name, column in columns.items():
                for suffix, moment in [("before", "start"), ("after", "end")]:
                    means = brute_force(scores, moment, condition, kind, column)
                    value = table.loc[(condition, kind, f"{name}_{suffix}"), "value"]
                    assert value == pytest.approx(means.mean())
            before, after = (
                brute_force(scores, moment, condition, kind, columns["performance"])
                for moment in ("start", "end")
            )
            row = table.loc[(condition, kind, "acquisition")]
            assert row["value"] == pytest.approx(1 - after.mean() / before.mean())
            weights = bootstrap_weights(len(before), 400, 3)
            ratios = [1 - (w * after).sum() / (w * before).sum() for w in weights]
            assert row["low"] == pytest.approx(2 * row["value"] - np.quantile(ratios, 0.95))
            high = 2 * row["value"] - np.quantile(ratios, 0.05)
            assert row["high"] == pytest.approx(min(high, 1))


def test_overall_performance_weighs_conditions_by_their_passages():
    scores = random_scores(num_paraphrase=5, num_once=2)
    table = pd.DataFrame(knowledge_rows(scores, settings()))
    k = table[(table["kind"] == "all") & (table["quantity"] == "performance_after")]
    k = k.set_index("condition")["value"]
    assert k["all"] == pytest.approx((5 * k["paraphrase"] + 2 * k["once"]) / 7)


def test_an_absent_condition_has_no_rows():
    rows = knowledge_rows(random_scores(num_once=0), settings())
    assert {row["condition"] for row in rows} == {"paraphrase", "all"}


def test_improvement_is_positive():
    scores = random_scores()
    end = scores["moment"] == "end"
    start = scores.loc[scores["moment"] == "start", "log_probability_per_token"].to_numpy()
    scores.loc[end, "log_probability_per_token"] = start / 2
    rows = pd.DataFrame(knowledge_rows(scores, settings()))
    acquired = rows[rows["quantity"] == "acquisition"]
    np.testing.assert_allclose(acquired[["value", "low", "high"]], 0.5)


def test_probes_without_an_end_are_refused():
    scores = random_scores()
    lost = scores[(scores["moment"] != "end") | (scores["probe_id"] > 0)]
    with pytest.raises(UserError, match="start and at the end"):
        knowledge_rows(lost, settings())


def test_runs_from_files_without_torch(tmp_path):
    scores = tmp_path / "scores.parquet"
    write_table(scores, random_scores(), PROBE_SCORES)
    evaluate_knowledge.run(
        probe_scores=scores,
        output_knowledge=tmp_path / "knowledge.parquet",
        output_replicates=tmp_path / "replicates.parquet",
        settings=settings(),
    )
    table = read_frame(tmp_path / "knowledge.parquet", KNOWLEDGE)
    assert (table["low"] <= table["value"] + 1e-12).all()
    kept = read_frame(tmp_path / "replicates.parquet", REPLICATES)
    assert list(zip(kept["quantity"], kept["group"], strict=True)) == [
        (f"performance_{moment}", f"{condition}/all")
        for condition in ("paraphrase", "once", "all")
        for moment in ("before", "after")
    ]
    assert kept["num_units"].tolist() == [4, 4, 3, 3, 7, 7]
    assert kept["units"].nunique() == 3
    weights = bootstrap_weights(7, 400, 3)
    for moment, name in (("start", "performance_before"), ("end", "performance_after")):
        means = brute_force(random_scores(), moment, "all", "all", "log_probability_per_token")
        row = kept[(kept["group"] == "all/all") & (kept["quantity"] == name)].iloc[0]
        assert row["value"] == pytest.approx(means.mean())
        assert row["unresolved"] == 0
        np.testing.assert_allclose(row["replicates"], weights @ means)
    code = "import sys, ke_steps.evaluate_knowledge; print({'torch'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


def test_exact_match_of_none_or_all_has_the_exact_binomial_interval():
    scores = random_scores().assign(exact_match=lambda frame: frame["moment"] == "end")
    table = pd.DataFrame(knowledge_rows(scores, settings()))
    table = table[table["kind"] == "all"].set_index(["condition", "quantity"])
    for condition, num_passages in (("paraphrase", 4), ("once", 3), ("all", 7)):
        for moment, right in (("before", 0), ("after", num_passages)):
            row = table.loc[(condition, f"exact_match_{moment}")]
            expected = stats.binomtest(right, num_passages).proportion_ci(0.9, method="exact")
            assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
            assert row["num_items"] == num_passages


def test_no_interval_leaves_the_bounds_of_its_quantity():
    scores = random_scores()
    is_known = (scores["moment"] == "end") & (scores["passage_id"] > 0)
    scores.loc[is_known, "log_probability_per_token"] = -1e-3
    scores["exact_match"] = is_known
    table = pd.DataFrame(knowledge_rows(scores, settings())).set_index("quantity")
    assert (table.loc[["performance_after"], "high"] <= 0).all()
    assert (table.loc[["acquisition"], "high"] <= 1).all()
    assert table.loc["exact_match_after", "high"].max() == 1
    assert table.loc["exact_match_before", "low"].min() == 0
