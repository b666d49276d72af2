"""Attention entropy against whole attention matrices of eager attention, in every family."""

import numpy as np
import pytest
import scipy.stats
import torch

from ke_steps.artefacts.measure_schemas import TOKEN_ENTROPIES
from ke_steps.artefacts.parquet import read_frame
from ke_steps.job.errors import UserError
from ke_steps.measuring.attention_entropies import (
    CHUNK_ELEMENTS,
    FUSED,
    GPU_ALIGNMENT,
    AttentionEntropies,
    entropies_from_scores,
    fused_entropies,
    is_fused,
    mean_row_entropies,
)
from ke_steps.measuring.measures import Measures, token_entropy_rows
from ke_steps.models.attention import Attention, observing
from ke_steps.models.temperature import set_temperature
from tests.invented.extraction import LargestTensor, extract, padded
from tests.invented.models import FAMILIES, NUM_LAYERS, build_model, build_sequences

WINDOWED = {"sliding_window": 5}
"""So small that every family that knows windows hides keys from most queries."""

LENGTHS = [16, 3, 9, 1]


def windowed(family):
    return WINDOWED if family in ("olmo3", "mistral", "gemma2", "gemma3_text", "phi3") else {}


def brute_force(model, input_ids, lengths):
    """Return (L, N, H): entropy of eager attention, mean over rows, each sequence alone in fp64."""
    model = model.double()
    model.set_attn_implementation("eager")
    model.set_experts_implementation("eager")  # the usual one has no fp64
    entropies = []
    for ids, length in zip(input_ids, lengths, strict=True):
        with torch.inference_mode():
            output = model(torch.tensor(ids[None, :length]).long(), output_attentions=True)
        weights = torch.cat(output.attentions).numpy()  # (L, H, T, T)
        entropies.append(scipy.stats.entropy(weights, axis=-1).mean(axis=-1))
    return np.stack(entropies, axis=1)


def record(model, input_ids, lengths):
    attention = AttentionEntropies(model, len(lengths))
    with torch.inference_mode(), attention.recording(range(len(lengths)), lengths):
        model.base_model(torch.tensor(input_ids).long(), use_cache=False)
    return attention.finish()


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_brute_force(family):
    model = build_model(family, **windowed(family))
    input_ids = padded(LENGTHS)
    found = record(model, input_ids, LENGTHS)
    expected = brute_force(model, input_ids, LENGTHS)
    assert found.shape == (NUM_LAYERS, len(LENGTHS), 4)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert expected[:, 0].min() > 0.1
    np.testing.assert_allclose(found[:, 3], 0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_fused_call_gives_what_scores_give(family, dtype):
    """Row by row, on the very queries, keys and masks of a padded batch."""
    model = build_model(family, **windowed(family))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    shown = []
    with torch.inference_mode(), observing(model, shown.append):
        model.base_model(torch.tensor(padded(LENGTHS)).long(), use_cache=False)
    assert len(shown) == NUM_LAYERS
    for attention in shown:
        assert is_fused(attention) == (family != "gemma2")
        if is_fused(attention):
            fused = fused_entropies(attention)
            for instance, row in enumerate(fused):
                from_scores = entropies_from_scores(attention, instance, 16)
                torch.testing.assert_close(row, from_scores, rtol=0, atol=4e-6)
            assert fused.max() > 1


@pytest.mark.parametrize("family", ["mistral", "gemma2"])
def test_the_window_and_the_cap_matter(family):
    """Otherwise the comparison with brute force would not test them."""
    input_ids = padded([16, 16])
    lengths = [16, 16]
    plain = record(build_model(family, sliding_window=64), input_ids, lengths)
    window = record(build_model(family, **WINDOWED), input_ids, lengths)
    assert not np.allclose(plain, window, rtol=0.01)
    if family == "gemma2":
        capped = build_model(family, sliding_window=64, attn_logit_softcapping=0.1)
        found = record(capped, input_ids, lengths)
        assert not np.allclose(plain, found, rtol=0.01)
        np.testing.assert_allclose(found, brute_force(capped, input_ids, lengths), rtol=1e-5)


@pytest.mark.parametrize("family", ["olmo", "gemma2"])
def test_a_temperature_is_in_the_entropies(family):
    model = build_model(family)
    plain = record(model, padded(LENGTHS), LENGTHS)
    set_temperature(model, 3.0)
    found = record(model, padded(LENGTHS), LENGTHS)
    assert (found - plain)[:, 0].max() > 0.01
    np.testing.assert_allclose(
        found, brute_force(model, padded(LENGTHS), LENGTHS), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("elements", [1, 100, 500])
def test_chunks_of_scores_change_nothing(monkeypatch, elements):
    model = build_model("gemma2", **WINDOWED)
    input_ids = padded(LENGTHS)
    whole = record(model, input_ids, LENGTHS)
    monkeypatch.setitem(CHUNK_ELEMENTS, "cpu", elements)
    np.testing.assert_allclose(record(model, input_ids, LENGTHS), whole, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("softcap", [None, 1.0])
def test_no_more_than_queries_or_a_chunk_is_in_memory(monkeypatch, softcap):
    """Whole matrices would be 4 heads × 64² = 16,384 scores; a chunk is 512, queries are 2,048."""
    query, key = torch.randn(2, 4, 64, 4), torch.randn(2, 2, 64, 4)
    attention = Attention(0, query, key, mask=None, scaling=0.5, softcap=softcap)
    monkeypatch.setitem(CHUNK_ELEMENTS, "cpu", 512)
    with LargestTensor() as largest:
        mean_row_entropies(attention, [64, 64])
    assert largest.num_elements <= 2048


@pytest.mark.parametrize("mask", [None, "window"])
def test_a_gpu_gets_what_its_operator_takes(monkeypatch, mask):
    """A pretend device: the operator's own checks, then its values with room behind each row.

    The operator of torch gives rows of log-normalisers padded to multiples of 32.
    """
    seen = torch.ones(17, 17, dtype=torch.bool).tril()
    if mask == "window":
        seen &= ~seen.tril(-5)
    query, key = torch.randn(3, 4, 17, 8), torch.randn(3, 2, 17, 8)
    given = None if mask is None else seen[None, None]
    attention = Attention(0, query, key, given, scaling=0.5, softcap=None)
    expected = fused_entropies(attention)
    usual, called = torch.ops.aten._scaled_dot_product_efficient_attention, []

    def operator(query, key, value, bias, with_normalizer, *, is_causal, scale):
        meta = [None if each is None else each.to("meta") for each in (query, key, value, bias)]
        promised = usual(*meta, with_normalizer, is_causal=is_causal, scale=scale)
        assert promised[1].shape == (3, 4, 32)
        scores = scale * query @ key.mT
        if is_causal:
            scores = scores.masked_fill(~seen, -torch.inf)
        else:
            assert bias.dtype == query.dtype
            assert bias.stride(2) % GPU_ALIGNMENT == 0
            scores = scores + bias
        normalizer = torch.nn.functional.pad(scores.logsumexp(-1), (0, 15), value=torch.nan)
        called.append(is_causal)
        return scores.softmax(-1) @ value, normalizer, None, None

    monkeypatch.setattr(torch.ops.aten, "_scaled_dot_product_efficient_attention", operator)
    monkeypatch.setitem(FUSED, "cpu", FUSED["cuda"])
    torch.testing.assert_close(fused_entropies(attention), expected, rtol=0, atol=4e-6)
    assert called == [mask is None]


def test_heads_that_no_gpu_takes_are_computed_from_scores():
    key = torch.empty(1, 2, 4, 12, device="meta")
    assert not is_fused(Attention(0, key, key, mask=None, scaling=1.0, softcap=None))
    key = torch.empty(1, 2, 4, 16, device="meta")
    assert is_fused(Attention(0, key, key, mask=None, scaling=1.0, softcap=None))


def test_passes_outside_the_block_are_not_recorded():
    model = build_model("olmo")
    input_ids = torch.tensor(padded(LENGTHS)).long()
    attention = AttentionEntropies(model, len(LENGTHS))
    with torch.inference_mode():
        with attention.recording(range(len(LENGTHS)), LENGTHS):
            model.base_model(input_ids)
        entropies = attention.finish().copy()
        model.base_model(input_ids.flip(0))
    assert entropies[:, 0].all()
    np.testing.assert_array_equal(attention.finish(), entropies)


def test_large_scores_neither_overflow_nor_cancel():
    """Scores of thousands: the row attends to one key alone, or to both of two equal ones."""
    query = torch.tensor([100.0, 100.0, 100.0]).reshape(1, 1, 3, 1)
    key = torch.tensor([100.0, 100.0, -100.0]).reshape(1, 1, 3, 1)
    attention = Attention(0, query, key, mask=None, scaling=1.0, softcap=None)
    expected = (0 + 2 * np.log(2)) / 3
    from_scores = entropies_from_scores(attention, 0, 3).mean()
    assert from_scores.item() == pytest.approx(expected)
    # the fused difference of two numbers of 10,000 has the rounding of these
    assert mean_row_entropies(attention, [3]).item() == pytest.approx(expected, abs=2e-3)


def test_bf16_is_close_to_fp32(tmp_path, checkpoint, sequences):
    found = []
    for precision in ("fp32", "bf16"):
        extract(tmp_path, checkpoint, sequences, precision=precision, num_attention_sequences=8)
        found.append(read_frame(tmp_path / "token_entropies.parquet")["entropy_nats"])
    assert not found[0].equals(found[1])
    np.testing.assert_allclose(found[0], found[1], rtol=0.05)


def test_only_the_first_sequences_by_layer_head_and_group(tmp_path, checkpoint):
    """Four groups of one: batches of three end at four, pads do not count."""
    lengths = [16, 3, 9, 7, 5, 16, 2, 16]
    input_ids = padded(lengths)
    sequences = build_sequences(tmp_path / "ids.parquet", input_ids=input_ids)
    for padding in ("exclude", "reference"):
        extract(tmp_path, checkpoint, sequences, num_attention_sequences=4, padding=padding)
        frame = read_frame(tmp_path / "token_entropies.parquet", TOKEN_ENTROPIES)
        assert set(frame["quantity"]) == {"attention"}
        found = brute_force(build_model("olmo"), input_ids[:4], lengths[:4])
        expected = found.swapaxes(1, 2)
        table = frame.set_index(["layer", "head", "group"])["entropy_nats"]
        for index, value in np.ndenumerate(expected):
            assert table[index] == pytest.approx(value, rel=1e-5, abs=1e-6)
        assert len(table) == expected.size


def measures_of(*, attention, next_token):
    return Measures({}, attention, next_token, memory_norms=np.empty((0, 0)))


def test_groups_are_means_over_contiguous_instances():
    entropies = np.random.default_rng(0).random((2, 12, 4))
    measures = measures_of(attention=entropies, next_token=entropies[0, :, 0])
    rows = list(token_entropy_rows(measures, num_groups=3))
    for row in rows:
        of = (
            entropies[0, :, 0]
            if row["quantity"] == "next_token"
            else entropies[row["layer"], :, row["head"]]
        )
        first = row["group"] * 4
        assert row["entropy_nats"] == pytest.approx(of[first : first + 4].mean())
    assert len(rows) == 2 * 4 * 3 + 3


def test_entropies_that_are_not_finite_are_refused():
    broken = np.full((1, 4, 1), np.nan)
    measures = measures_of(attention=broken, next_token=None)
    with pytest.raises(UserError, match="attention entropies are not finite"):
        list(token_entropy_rows(measures, num_groups=2))
