"""Memories in tokens: which, in what order, and what they promote."""

import numpy as np
import pandas as pd
import pytest
import torch

from ke_steps import describe_memories
from ke_steps.artefacts.measure_schemas import MEMORIES
from ke_steps.artefacts.parquet import read_frame
from ke_steps.job.errors import UserError
from ke_steps.models.feed_forward import feed_forward
from ke_steps.models.loading import unembedding_of
from ke_steps.settings.measures import DescribeMemoriesJob
from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.models import (
    FAMILIES,
    HIDDEN_SIZE,
    NUM_LAYERS,
    NUM_MEMORIES,
    VOCAB_SIZE,
    build_checkpoint,
    build_model,
)


def settings(**changes):
    return DescribeMemoriesJob(**({"num_memories": 3, "num_tokens": 4, "num_threads": 1} | changes))


def describe(folder, checkpoint, activity, **changes):
    """Run the step on activities (num_layers, m); return its table."""
    layer = np.repeat(np.arange(len(activity)), activity.shape[1])
    frame = pd.DataFrame({"layer": layer, "mean_absolute": activity.ravel()})
    frame.to_parquet(folder / "coefficients")
    describe_memories.run(
        checkpoint=checkpoint,
        coefficients=folder / "coefficients",
        output=folder / "memories",
        settings=settings(**changes),
    )
    return read_frame(folder / "memories", MEMORIES)


@pytest.fixture
def activity():
    return np.random.default_rng(0).random((NUM_LAYERS, NUM_MEMORIES))


def test_planted_tokens_come_first(tmp_path, activity):
    model = build_model("llama")
    with torch.no_grad():
        for index, memory in enumerate(activity[1].argsort()[::-1][:3]):
            row = model.lm_head.weight[270 + index]
            model.model.layers[1].mlp.down_proj.weight[:, memory] = row / row.norm()
            model.lm_head.weight[270 + index] *= 9
    checkpoint = build_checkpoint(tmp_path / "model", model=model)
    table = describe(tmp_path, checkpoint, activity)
    assert len(table) == NUM_LAYERS * 2 * 3
    planted = table[(table["layer"] == 1) & (table["end"] == "most")]
    backend = load_tokenizer(checkpoint.parent).backend
    for index, tokens in enumerate(planted["tokens"]):
        assert tokens[0] == backend.decode([270 + index])
        assert len(tokens) == 4
    assert planted["tokens"].iloc[0][0].strip()


def test_the_ends_of_the_scale_with_ties_by_index(tmp_path, checkpoint):
    activity = np.full((NUM_LAYERS, NUM_MEMORIES), 2.0)
    activity[0, [7, 30]] = 5
    activity[0, [4, 60]] = 1
    table = describe(tmp_path, checkpoint, activity)
    places = table.groupby(["layer", "end"])["memory"].apply(list)
    assert places[0, "most"] == [7, 30, 0]
    assert places[0, "least"] == [4, 60, 0]
    assert places[1, "most"] == places[1, "least"] == [0, 1, 2]
    first = table[(table["layer"] == 0) & (table["end"] == "most") & (table["rank"] == 1)]
    assert first["mean_absolute"].item() == 5
    assert first["relative_activity"].item() == pytest.approx(5 / activity[0].mean())


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "olmoe"])
def test_scores_equal_brute_force(tmp_path, activity, family):
    model = build_model(family)
    norm = model.base_model.ln_f if family == "gpt2" else model.base_model.norm
    with torch.no_grad():
        norm.weight.normal_(std=0.5)
    checkpoint = build_checkpoint(tmp_path / "model", model=model)
    table = describe(tmp_path, checkpoint, activity)
    layers = feed_forward(model)
    gain = (1 + norm.weight) if family == "gemma2" else norm.weight
    vocab_size = load_tokenizer(checkpoint.parent).vocab_size
    with torch.no_grad():
        for row in table.itertuples():
            v = layers.memory_vectors(row.layer)[row.memory]
            rows = unembedding_of(model)[:vocab_size]
            scores = [sum((gain * v * e).tolist()) for e in rows]
            np.testing.assert_allclose(row.scores, sorted(scores)[::-1][:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_final_gain_is_what_the_norm_multiplies_by(family):
    model = build_model(family)
    (name, norm), *_ = [
        (name, module)
        for name, module in model.base_model.named_children()
        if name in {"norm", "final_layer_norm", "ln_f"}
    ]
    if family == "olmo":
        expected = torch.ones(HIDDEN_SIZE)
    else:
        with torch.no_grad():
            norm.weight.normal_()
        expected = norm.weight.detach() + (1 if family.startswith("gemma") else 0)
    torch.testing.assert_close(
        describe_memories.final_gain(model), expected, rtol=1e-4, atol=1e-6, msg=name
    )


def test_padding_of_the_vocabulary_is_passed_over(tmp_path, activity):
    checkpoint = build_checkpoint(tmp_path / "model", vocab_size=VOCAB_SIZE + 50)
    tokenizer = load_tokenizer(checkpoint.parent)
    table = describe(tmp_path, checkpoint, activity, num_memories=1, num_tokens=VOCAB_SIZE)
    assert tokenizer.vocab_size == VOCAB_SIZE
    texts = sorted(tokenizer.decode(token) for token in range(VOCAB_SIZE))
    assert sorted(table["tokens"].iloc[0]) == texts


def test_refusals(tmp_path, checkpoint, activity):
    with pytest.raises(UserError, match=r"describe_memories\.num_memories: 65 .* the 64 there"):
        describe(tmp_path, checkpoint, activity, num_memories=65)
    with pytest.raises(UserError, match=r"describe_memories\.num_tokens: 400 .* the 320 there"):
        describe(tmp_path, checkpoint, activity, num_tokens=400)
    with pytest.raises(UserError, match=r"coefficients are \(2, 60\)"):
        describe(tmp_path, checkpoint, activity[:, :60])
