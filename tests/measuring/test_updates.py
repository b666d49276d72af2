"""The update map against norms taken memory by memory, for every form of layer."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from ke_steps.artefacts.learning_schemas import UPDATES
from ke_steps.measuring.updates import update_map
from ke_steps.models.feed_forward import feed_forward
from tests.invented.models import NUM_LAYERS, NUM_MEMORIES, build_model


@pytest.mark.parametrize("family", ["olmo", "phi3", "gpt_neox", "gpt2", "mixtral"])
def test_equals_norms_taken_memory_by_memory(family):
    before, after = (feed_forward(build_model(family, seed=seed)) for seed in (0, 1))
    batches = list(update_map(before, after))
    assert len(batches) == NUM_LAYERS
    frame = pa.Table.from_batches(batches, schema=UPDATES).to_pandas()
    assert len(frame) == NUM_LAYERS * NUM_MEMORIES
    with torch.no_grad():
        for row in frame.itertuples():
            (v, k), (w, j) = (
                (
                    layers.memory_vectors(row.layer)[row.memory].double(),
                    torch.cat([rows[row.memory] for rows in layers.keys(row.layer)]).double(),
                )
                for layers in (before, after)
            )
            assert row.memory_norm == pytest.approx(v.norm().item(), rel=1e-6)
            assert row.key_norm == pytest.approx(k.norm().item(), rel=1e-6)
            assert row.memory_change == pytest.approx((w - v).norm().item(), rel=1e-6)
            assert row.key_change == pytest.approx((j - k).norm().item(), rel=1e-6)


def test_one_moved_memory_is_the_only_one():
    model, twin = build_model("llama"), build_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[:, 5] += 0.5
        model.model.layers[0].mlp.up_proj.weight[7, 0] += 3
        model.model.layers[0].mlp.gate_proj.weight[7, 2] += 4
    batches = list(update_map(feed_forward(twin), feed_forward(model)))
    frame = pa.Table.from_batches(batches).to_pandas().set_index(["layer", "memory"])
    moved = frame[frame["memory_change"] > 0]["memory_change"]
    assert moved.index.tolist() == [(1, 5)]
    assert moved.item() == pytest.approx(0.5 * np.sqrt(32))
    moved = frame[frame["key_change"] > 0]["key_change"]
    assert moved.index.tolist() == [(0, 7)]
    assert moved.item() == pytest.approx(5)
