"""Update statistics against closed forms."""

import math
import subprocess
import sys
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ke_steps import aggregate_updates
from ke_steps.artefacts.learning_schemas import UPDATE_STATISTICS, UPDATES
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.job.errors import UserError
from ke_steps.settings.measures import AggregateUpdates

QUANTITIES = {
    "update_entropy_nats",
    "update_normalized_entropy",
    "update_mean_relative",
    "update_correlation_pearson",
    "update_correlation_spearman",
    "update_correlation_p_value",
}


def build_updates(memory_change, key_change, memory_norm=2.0, key_norm=4.0):
    """Return a frame of UPDATES from changes (num_layers, m) and norms that broadcast to them."""
    shape = np.shape(memory_change)
    layer, memory = np.indices(shape)
    columns = {
        "layer": layer,
        "memory": memory,
        "memory_norm": np.broadcast_to(memory_norm, shape),
        "key_norm": np.broadcast_to(key_norm, shape),
        "memory_change": np.asarray(memory_change, dtype=float),
        "key_change": np.asarray(key_change, dtype=float),
    }
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})


def table(updates, activity):
    settings = AggregateUpdates(num_permutations=200)
    rows = pd.DataFrame(aggregate_updates.statistics_rows(updates, np.asarray(activity), settings))
    assert set(rows["quantity"]) == QUANTITIES
    rows["layer"] = rows["layer"].astype(object).where(rows["layer"].notna(), "model")
    groups = rows.groupby(["vector", "quantity"])
    return {key: group.set_index("layer")["value"] for key, group in groups}


def test_equal_changes_have_the_entropy_of_their_number():
    values = table(build_updates(np.full((2, 8), 0.5), np.eye(2, 8)), np.ones((2, 8)))
    entropy = values["memory", "update_entropy_nats"]
    assert entropy[0] == pytest.approx(math.log(8))
    assert entropy["model"] == pytest.approx(2 * math.log(8))
    assert values["memory", "update_normalized_entropy"]["model"] == pytest.approx(1)
    assert values["memory", "update_mean_relative"]["model"] == pytest.approx(0.25)
    assert values["key", "update_entropy_nats"][1] == 0
    assert values["key", "update_mean_relative"][0] == pytest.approx(1 / 4 / 8)


def test_a_third_and_two_thirds():
    values = table(build_updates([[1, 2, 0, 0]], [[1, 2, 0, 0]]), [[4.0, 3.0, 2.0, 1.0]])
    expected = math.log(3) - 2 / 3 * math.log(2)
    assert values["key", "update_entropy_nats"]["model"] == pytest.approx(expected)
    normalized = values["key", "update_normalized_entropy"]["model"]
    assert normalized == pytest.approx(expected / math.log(4))


def test_correlations_and_their_mean_over_layers():
    generator = np.random.default_rng(0)
    activity, changes = generator.random((2, 3, 50))
    updates = build_updates(changes, activity**3, memory_norm=generator.random((3, 50)) + 1)
    values = table(updates, activity)
    for name, function in [("pearson", stats.pearsonr), ("spearman", stats.spearmanr)]:
        expected = [function(*pair).statistic for pair in zip(changes, activity, strict=True)]
        found = values["memory", f"update_correlation_{name}"]
        np.testing.assert_allclose(found[[0, 1, 2]].astype(float), expected)
        assert found["model"] == pytest.approx(np.mean(expected))
    assert values["key", "update_correlation_spearman"]["model"] == pytest.approx(1)
    assert 0.8 < values["key", "update_correlation_pearson"]["model"] < 1
    relative = updates["memory_change"] / updates["memory_norm"]
    assert values["memory", "update_mean_relative"]["model"] == pytest.approx(relative.mean())


def test_updates_that_follow_activity_are_told_from_chance():
    generator = np.random.default_rng(0)
    activity = generator.random((3, 60))
    changes = activity + generator.normal(scale=0.3, size=(3, 60))
    values = table(build_updates(changes, generator.random((3, 60))), activity)
    p_value = values["memory", "update_correlation_p_value"]
    assert p_value.tolist() == [1 / 201] * 4
    assert (values["key", "update_correlation_p_value"] > 0.02).all()


def test_p_of_the_model_is_of_the_mean_over_layers_permuted_each_on_its_own():
    """Two layers of three memories: all 6 × 6 orders are known."""
    activity, changes = np.array([[1.0, 2, 3], [1, 2, 3]]), np.array([[1.0, 3, 2], [1, 2, 3]])
    by_order = [stats.spearmanr(order, [1, 2, 3]).statistic for order in permutations([1, 2, 3])]
    means = np.add.outer(by_order, by_order) / 2
    exact = (np.abs(means) >= np.mean([0.5, 1]) - 1e-9).mean()
    settings = AggregateUpdates(num_permutations=20_000)
    updates = build_updates(changes, changes)
    rows = pd.DataFrame(aggregate_updates.statistics_rows(updates, activity, settings))
    found = rows[rows["quantity"] == "update_correlation_p_value"].set_index(["vector", "layer"])
    assert found["value"].tolist()[2] == pytest.approx(exact, abs=0.01)
    assert found["value"].tolist()[:2] == pytest.approx([4 / 6 + 2 / 6, 2 / 6], abs=0.01)


def test_what_nothing_defines_is_null():
    updates = build_updates([[0, 0, 0], [1, 2, 3]], [[1, 1, 1], [1, 2, 3]])
    values = table(updates, [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])
    assert values["memory", "update_entropy_nats"].isna().tolist() == [True, False, True]
    assert values["memory", "update_mean_relative"][0] == 0
    for vector in ("memory", "key"):
        for name in ("spearman", "p_value"):
            assert values[vector, f"update_correlation_{name}"].isna().all()
    dead = build_updates([[1, 1, 1]], [[1, 1, 1]], memory_norm=[[0, 2, 4]], key_norm=0.0)
    values = table(dead, [[1.0, 2.0, 3.0]])
    assert values["memory", "update_mean_relative"]["model"] == pytest.approx(3 / 8)
    assert values["key", "update_mean_relative"].isna().all()


def test_runs_from_files_without_torch(tmp_path):
    updates, coefficients = tmp_path / "updates", tmp_path / "coefficients"
    output = tmp_path / "statistics"
    write_table(updates, build_updates(np.ones((2, 4)), np.ones((2, 4))), UPDATES)
    activity = pd.DataFrame({"layer": [0, 0, 1, 1], "mean_absolute": [1.0, 2.0, 3.0, 4.0]})
    activity.to_parquet(coefficients)
    inputs = {"updates": updates, "coefficients": coefficients, "output": output}
    with pytest.raises(UserError, match=r"2 layers with 8 memories in all, but .* 2 with 4: not"):
        aggregate_updates.run(**inputs, settings=AggregateUpdates())
    pd.concat([activity, activity]).sort_values("layer").to_parquet(coefficients)
    aggregate_updates.run(**inputs, settings=AggregateUpdates())
    table = read_frame(output, UPDATE_STATISTICS)
    assert len(table) == 2 * 3 * len(QUANTITIES)
    code = (
        "import sys, ke_steps.aggregate_updates; print({'torch', 'transformers'} & {*sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
