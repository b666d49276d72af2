"""Ranks of memories at the checkpoints of a study, and which memories are told of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ke_steps.artefacts.coefficients import read_activity
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.summary_schemas import MEMORY_RANKS
from ke_steps.summary import memory_ranks as module
from ke_steps.summary.memory_ranks import memory_ranks, ranks_of, telling

MOST, MOVED, LEAST = 7, 3, 5


def activities(steps: tuple[int, ...] = (0, 10, 20), m: int = 40) -> dict[int, np.ndarray]:
    """Two layers whose order stays, but for one memory that is first at the last step alone."""
    order = np.random.default_rng(1).permutation(m) + 1.0
    order[[MOST, LEAST]] = m + 10.0, 0.5
    found = {step: np.stack([order, order[::-1]]) for step in steps}
    found[steps[-1]][0, MOVED] = m + 20.0
    return found


def test_the_ranks_of_a_study_are_those_of_its_activities(tables: dict[str, Path]) -> None:
    table = read_frame(tables["memory_ranks"], MEMORY_RANKS)
    results = tables["memory_ranks"].parents[1] / "aggregate_entropy" / "nursery"
    assert len(table) == 6 * 4 * 384
    for step, found in table.groupby("step"):
        (path,) = (results / f"step{step}" / "original").glob("*/activity.parquet")
        activity = read_activity(path)
        ranks = stats.rankdata(-activity, method="ordinal", axis=1)
        by_memory = found.sort_values(["layer", "memory"])
        assert by_memory["rank"].tolist() == ranks.ravel().tolist()
        relative = activity / activity.mean(axis=1, keepdims=True)
        assert by_memory["relative_activity"].to_numpy() == pytest.approx(relative.ravel())
        assert (found["is_trained"] == (step > 0)).all()


def test_of_equal_memories_the_first_ranks_first() -> None:
    assert ranks_of(np.array([[1.0, 3, 3, 0], [2, 2, 2, 9]])).tolist() == [
        [3, 1, 2, 4],
        [2, 3, 4, 1],
    ]


def test_where_all_memories_are_alike_there_is_no_rank(tmp_path: Path) -> None:
    found = activities()
    found[10][1] = 0.0
    found[20][1] = 3.0
    path = tmp_path / "ranks.parquet"
    write_table(path, memory_ranks({"m": found}, []), MEMORY_RANKS)
    table = read_frame(path, MEMORY_RANKS)
    is_alike = (table["layer"] == 1) & (table["step"] > 0)
    assert (table["rank"].isna() == is_alike).all()
    assert table["relative_activity"].isna().sum() == 40  # 0 / 0, but 3 / 3 is 1
    assert (table.loc[is_alike & (table["step"] == 20), "relative_activity"] == 1).all()


def test_a_layer_that_is_always_dead_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RANKS", 1)
    table = memory_ranks({"m": {5: np.zeros((1, 40))}}, [])
    assert table["memory"].tolist() == [0, 1, 2]
    assert table["rank"].isna().all()


def test_of_a_large_layer_the_ends_and_what_moved_most_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_RANKS", 2 * 3 * 2 * 6)  # 2 models, 3 steps, 2 layers
    found = activities()
    table = memory_ranks({"a": found, "b": found}, [])
    whole = {step: stats.rankdata(-each, method="ordinal", axis=1) for step, each in found.items()}
    for (_, layer), rows in table.groupby(["model", "layer"]):
        assert rows["memory"].nunique() == 6
        for row in rows.itertuples():
            assert row.rank == whole[row.step][layer, row.memory]
    first = set(table.loc[(table["model"] == "a") & (table["layer"] == 0), "memory"])
    assert {MOST, MOVED, LEAST} <= first
    assert set(table["step"]) == {0, 10, 20}


def test_what_moves_before_pretraining_is_no_movement() -> None:
    ranks = np.tile(np.arange(1, 31), (3, 1))
    ranks[0, [14, 15]] = ranks[0, [15, 14]]  # at step 0 alone
    ranks[2, [10, 19]] = ranks[2, [19, 10]]
    chosen = telling(ranks, np.array([False, True, True]), 4).tolist()
    assert chosen == [0, 10, 19, 29]
    assert telling(ranks, np.array([True, True, True]), 30).tolist() == list(range(30))


def test_a_study_without_checkpoints_has_no_ranks() -> None:
    table = memory_ranks({}, [])
    assert isinstance(table, pd.DataFrame)
    assert table.empty
