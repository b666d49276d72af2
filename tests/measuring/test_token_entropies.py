"""Next-token entropy in chunks against the full logits, and the entropy of a softmax in parts."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from ke_steps.artefacts.measure_schemas import TOKEN_ENTROPIES
from ke_steps.artefacts.parquet import read_frame
from ke_steps.measuring import token_entropies
from ke_steps.measuring.token_entropies import (
    joined_entropy,
    mean_next_token_entropies,
    softmax_entropy,
)
from tests.invented.extraction import LargestTensor, extract, padded
from tests.invented.models import HIDDEN_SIZE, VOCAB_SIZE, build_model, build_sequences

LENGTHS = [16, 3, 9, 1]


def brute_force(model, input_ids, lengths):
    """Return the entropy of the full logits, mean over positions, each sequence alone in fp64."""
    model = model.double()
    model.set_experts_implementation("eager")  # the usual one has no fp64
    entropies = []
    for ids, length in zip(input_ids, lengths, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor(ids[None, :length]).long()).logits[0].numpy()
        p = scipy.special.softmax(logits, axis=-1)
        entropies.append(scipy.stats.entropy(p, axis=-1).mean())
    return np.array(entropies)


def chunked(model, input_ids, lengths):
    with torch.inference_mode():
        hidden = model.base_model(torch.tensor(input_ids).long()).last_hidden_state
        return mean_next_token_entropies(model, hidden, lengths).numpy()


@pytest.mark.parametrize("family", ["olmo", "gpt_neox", "gemma2", "mixtral"])
@pytest.mark.parametrize("chunk", [(1024, 8192), (7, 100), (1, 33)])
def test_equals_brute_force(monkeypatch, family, chunk):
    positions, tokens = chunk
    monkeypatch.setattr(token_entropies, "CHUNK_POSITIONS", positions)
    monkeypatch.setattr(token_entropies, "CHUNK_TOKENS", tokens)
    overrides = {"final_logit_softcapping": 2.0} if family == "gemma2" else {}
    model = build_model(family, **overrides)
    input_ids = padded(LENGTHS)
    found = chunked(model, input_ids, LENGTHS)
    np.testing.assert_allclose(found, brute_force(model, input_ids, LENGTHS), rtol=1e-5)
    assert found.max() < np.log(VOCAB_SIZE) - 0.01


def test_no_more_than_a_chunk_is_in_memory(monkeypatch):
    """Whole logits would be 32 positions × 320 tokens = 10,240; the unembedding's part is 1,600."""
    monkeypatch.setattr(token_entropies, "CHUNK_POSITIONS", 8)
    monkeypatch.setattr(token_entropies, "CHUNK_TOKENS", 50)
    model = build_model("olmo")
    hidden = torch.randn(2, 16, HIDDEN_SIZE)
    with torch.inference_mode(), LargestTensor() as largest:
        mean_next_token_entropies(model, hidden, [16, 16])
    assert largest.num_elements <= 50 * HIDDEN_SIZE


@pytest.mark.parametrize("scale", [0.1, 10.0, 1e4])
def test_softmax_entropy_equals_scipy(scale):
    scores = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)) * scale
    log_normalizer, entropy = softmax_entropy(scores)
    exact = scores.double().numpy()
    np.testing.assert_allclose(log_normalizer, scipy.special.logsumexp(exact, axis=-1), rtol=1e-6)
    p = scipy.special.softmax(exact, axis=-1)
    np.testing.assert_allclose(entropy, scipy.stats.entropy(p, axis=-1), rtol=1e-5, atol=1e-6)


def test_parts_join_to_the_whole():
    scores = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)) * 10
    parts = [softmax_entropy(part) for part in scores.split(17, dim=1)]
    log_normalizers, entropies = (torch.stack(values) for values in zip(*parts, strict=True))
    _, whole = softmax_entropy(scores)
    joined = joined_entropy(log_normalizers, entropies)
    torch.testing.assert_close(joined, whole, rtol=1e-5, atol=1e-6)


def test_only_the_first_sequences_by_group(tmp_path, checkpoint):
    """Beside an attention count that ends elsewhere; pads never count."""
    lengths = [16, 3, 9, 7, 5, 16, 2, 16]
    input_ids = padded(lengths)
    sequences = build_sequences(tmp_path / "ids.parquet", input_ids=input_ids)
    numbers = {"num_attention_sequences": 4, "num_next_token_sequences": 8}
    expected = brute_force(build_model("olmo"), input_ids, lengths)
    for padding in ("exclude", "reference"):
        extract(tmp_path, checkpoint, sequences, padding=padding, **numbers)
        frame = read_frame(tmp_path / "token_entropies.parquet", TOKEN_ENTROPIES)
        rows = frame[frame["quantity"] == "next_token"]
        assert rows["layer"].isna().all()
        assert rows["head"].isna().all()
        assert rows["group"].tolist() == [0, 1, 2, 3]
        np.testing.assert_allclose(
            rows["entropy_nats"], expected.reshape(4, 2).mean(axis=1), rtol=1e-5
        )
