"""Coefficients by the paper's equation: against a naive implementation, under every layout."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ke_steps import _models, _moments, _tables, extract_coefficients
from ke_steps._errors import UserError
from ke_steps.settings import ExtractCoefficientsJob
from tests import conftest

FAMILIES = ["olmo", "llama", "gpt_neox"]
THRESHOLD = 0.05


def job(**overrides):
    keywords = {
        "corpus": "random",
        "num_sequences": 8,
        "batch_size_sequences": 3,
        "precision": "fp32",
        "active_threshold": THRESHOLD,
        "num_groups": 4,
        "num_threads": 1,
    }
    return ExtractCoefficientsJob(**(keywords | overrides))


def extract(tmp_path, checkpoint, sequences, multipliers=None, **overrides):
    output = tmp_path / "coefficients.parquet"
    extract_coefficients.run(
        checkpoint=checkpoint,
        sequences=sequences,
        multipliers=multipliers,
        output=output,
        settings=job(**overrides),
    )
    return _tables.read_frame(output, _tables.coefficients_schema(job(**overrides).num_groups))


def naive_coefficients(model, input_ids):
    """Return all coefficients (L, N, T, m) in fp64, one sequence at a time."""
    kept = []
    layers = _models.feed_forward(model)
    handles = [
        projection.register_forward_pre_hook(lambda _, given: kept.append(given[0][0]))
        for projection in layers.output_projections
    ]
    with torch.inference_mode():
        for row in input_ids:
            model(input_ids=torch.tensor(row[None]), use_cache=False)
    for handle in handles:
        handle.remove()
    shape = (len(input_ids), layers.num_layers, input_ids.shape[1], layers.num_memories)
    return torch.stack(kept).reshape(shape).swapaxes(0, 1).double().numpy()


def by_layer(frame, column):
    return np.stack(frame[column].to_numpy()).reshape(
        conftest.NUM_LAYERS, conftest.NUM_MEMORIES, -1
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_naive_implementation(tmp_path, family):
    model = conftest.build_model(family)
    checkpoint = conftest.build_checkpoint(tmp_path / family, model=model)
    input_ids = conftest.random_sequences(8, 16)
    sequences = conftest.build_sequences(tmp_path / "ids.parquet", input_ids=input_ids)
    frame = extract(tmp_path, checkpoint, sequences)
    c = naive_coefficients(model, input_ids)
    for column, values in {
        "mean_absolute": np.abs(c),
        "mean": c,
        "mean_square": c**2,
        "active_fraction": np.abs(c) > THRESHOLD,
    }.items():
        expected = values.mean(axis=(1, 2))
        np.testing.assert_allclose(
            by_layer(frame, column)[..., 0], expected, rtol=1e-5, atol=1e-6, err_msg=column
        )
    groups = np.abs(c).reshape(2, 4, 2, 16, 64).mean(axis=(2, 3))
    found = by_layer(frame, "group_mean_absolute").swapaxes(1, 2)
    np.testing.assert_allclose(found, groups, rtol=1e-5)
    assert frame["layer"].tolist() == [0] * 64 + [1] * 64
    assert frame["memory"].tolist() == [*range(64), *range(64)]


def test_batch_size_changes_nothing(tmp_path, checkpoint, sequences):
    frames = [
        extract(tmp_path, checkpoint, sequences, batch_size_sequences=size) for size in (1, 3, 8)
    ]
    for frame in frames[1:]:
        for column in ("mean_absolute", "mean", "mean_square", "active_fraction"):
            np.testing.assert_allclose(frame[column], frames[0][column], rtol=1e-5, atol=1e-7)


def test_chunks_change_nothing(monkeypatch):
    c = torch.randn(3, 10, 7)
    whole = _moments.sum_over_tokens(c, THRESHOLD)
    expected = torch.stack([c.abs(), c, c.square(), (c.abs() > THRESHOLD).float()]).sum(2)
    torch.testing.assert_close(whole, expected)
    for elements in (1, 7, 30, 75, 150):
        monkeypatch.setitem(_moments.CHUNK_ELEMENTS, "cpu", elements)
        torch.testing.assert_close(_moments.sum_over_tokens(c, THRESHOLD), expected)


def test_measuring_leaves_coefficients_untouched():
    c = torch.randn(2, 5, 7)
    before = c.clone()
    _moments.sum_over_tokens(c, THRESHOLD)
    assert torch.equal(c, before)


def padded(lengths):
    input_ids = conftest.random_sequences(len(lengths), 16)
    for row, length in zip(input_ids, lengths, strict=True):
        row[length:] = conftest.PAD_ID
    return input_ids


def test_padding_never_counts(tmp_path, checkpoint):
    """Equal to running each sequence alone, cut to its own length; pads inside a text count."""
    lengths = [16, 3, 9, 16, 1, 12, 7, 5]
    input_ids = padded(lengths)
    input_ids[0, 4] = conftest.PAD_ID
    sequences = conftest.build_sequences(tmp_path / "ids.parquet", input_ids=input_ids)
    frame = extract(tmp_path, checkpoint, sequences)
    model = _models.load_model(checkpoint, device=torch.device("cpu"))
    alone = [
        np.abs(naive_coefficients(model, row[None, :length])).mean(axis=(1, 2))
        for row, length in zip(input_ids, lengths, strict=True)
    ]
    expected = np.mean(alone, axis=0)
    np.testing.assert_allclose(by_layer(frame, "mean_absolute")[..., 0], expected, rtol=1e-5)


def test_reference_padding_sums_over_pads_too(tmp_path, checkpoint):
    input_ids = padded([16, 3, 9, 16, 1, 12, 7, 5])
    sequences = conftest.build_sequences(tmp_path / "ids.parquet", input_ids=input_ids)
    frame = extract(tmp_path, checkpoint, sequences, padding="reference")
    model = _models.load_model(checkpoint, device=torch.device("cpu"))
    expected = np.abs(naive_coefficients(model, input_ids)).sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(by_layer(frame, "mean_absolute")[..., 0], expected, rtol=1e-5)


def test_only_the_first_sequences_are_measured(tmp_path, checkpoint):
    input_ids = conftest.random_sequences(8, 16)
    whole = conftest.build_sequences(tmp_path / "whole.parquet", input_ids=input_ids)
    part = conftest.build_sequences(tmp_path / "part.parquet", input_ids=input_ids[:4])
    frames = [extract(tmp_path, checkpoint, path, num_sequences=4) for path in (whole, part)]
    assert frames[0].equals(frames[1])


def test_same_inputs_same_bytes(tmp_path, checkpoint, sequences):
    written = []
    for _ in range(2):
        extract(tmp_path, checkpoint, sequences)
        written.append((tmp_path / "coefficients.parquet").read_bytes())
    assert written[0] == written[1]


def test_bf16_is_close_to_fp32(tmp_path, checkpoint, sequences):
    exact, rounded = (
        extract(tmp_path, checkpoint, sequences, precision=precision)["mean_absolute"]
        for precision in ("fp32", "bf16")
    )
    assert not exact.equals(rounded)
    assert np.median(np.abs(rounded / exact - 1)) < 0.01


def test_multipliers_reach_the_first_layer_exactly(tmp_path, checkpoint, sequences):
    """The first layer's input does not depend on multipliers, so its coefficients scale."""
    factors = torch.linspace(0.5, 3, 128).reshape(2, 64)
    path = tmp_path / "multipliers.safetensors"
    save_file({"multipliers": factors}, path)
    plain = by_layer(extract(tmp_path, checkpoint, sequences), "mean_absolute")[0, :, 0]
    scaled = by_layer(extract(tmp_path, checkpoint, sequences, path), "mean_absolute")[0, :, 0]
    np.testing.assert_allclose(scaled, plain * factors[0].numpy(), rtol=1e-5)


def test_too_few_sequences_are_refused(tmp_path, checkpoint, sequences):
    with pytest.raises(UserError, match=r"extract_coefficients.num_sequences: 12 is more than"):
        extract(tmp_path, checkpoint, sequences, num_sequences=12)


def test_too_long_sequences_are_refused(tmp_path, checkpoint):
    long = conftest.build_sequences(tmp_path / "long.parquet", 8, conftest.MAX_LENGTH_TOKENS + 1)
    with pytest.raises(UserError, match="sequences of 65 tokens, the model takes at most 64"):
        extract(tmp_path, checkpoint, long)


def test_a_sequence_of_padding_is_refused(tmp_path, checkpoint):
    input_ids = padded([16, 0, 9, 16, 1, 12, 7, 5])
    sequences = conftest.build_sequences(tmp_path / "ids.parquet", input_ids=input_ids)
    with pytest.raises(UserError, match="sequence 1 of the corpus holds nothing but padding"):
        extract(tmp_path, checkpoint, sequences)


def test_overflow_is_refused(tmp_path, sequences):
    model = conftest.build_model()
    with torch.no_grad():
        _models.feed_forward(model).up_projections[1].weight.mul_(1e38)
    checkpoint = conftest.build_checkpoint(tmp_path / "huge", model=model)
    with pytest.raises(UserError, match="coefficients of layer 1 are not finite"):
        extract(tmp_path, checkpoint, sequences)
