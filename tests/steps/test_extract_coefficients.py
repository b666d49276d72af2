"""Coefficients by the paper's equation: against a naive implementation, under every layout."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from ke_steps import aggregate_entropy
from ke_steps.artefacts.measure_schemas import ENTROPY
from ke_steps.artefacts.parquet import read_frame, read_provenance
from ke_steps.formulas.entropy import entropy_nats
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.models.feed_forward import feed_forward
from ke_steps.models.loading import load_model
from ke_steps.settings.measures import AggregateEntropy
from ke_steps.summary.agreements import NOTE, agreements
from tests.invented.extraction import EVERYTHING, THRESHOLD, extract, padded
from tests.invented.models import (
    MAX_LENGTH_TOKENS,
    NUM_LAYERS,
    NUM_MEMORIES,
    PAD_ID,
    build_checkpoint,
    build_model,
    build_sequences,
    random_sequences,
)

FAMILIES = ["olmo", "gpt_neox", "gpt2", "phi3", "olmoe", "mixtral"]

SUMMED = ("mean_absolute", "mean", "mean_square", "active_fraction")


def naive_coefficients(model, input_ids, *, with_relu=False):
    """Return all coefficients (L, N, T, m) in fp64, one sequence at a time, zero where unrouted."""
    layers = feed_forward(model)
    shape = (layers.num_layers, len(input_ids), input_ids.shape[1], layers.num_memories)
    found = np.zeros(shape)

    def keep(observed):
        values = (observed.relu if with_relu else observed.values).double().numpy()
        memories = slice(observed.first_memory, observed.first_memory + values.shape[-1])
        if observed.routed is None:
            found[observed.layer, row, :, memories] = values[0]
        else:
            found[observed.layer, row, observed.routed[:, 1].numpy(), memories] = values

    with torch.inference_mode(), layers.observing(keep, with_relu=with_relu):
        for row in range(len(input_ids)):
            model(input_ids=torch.tensor(input_ids[row : row + 1]), use_cache=False)
    return found


def by_layer(frame, column):
    return np.stack(frame[column].to_numpy()).reshape(NUM_LAYERS, NUM_MEMORIES, -1)


def test_without_a_number_whole_groups_of_the_corpus_are_measured(tmp_path):
    checkpoint = build_checkpoint(tmp_path / "olmo")
    ids = random_sequences(11, 16)
    some, every = (build_sequences(tmp_path / f"{n}.parquet", input_ids=ids[:n]) for n in (8, 11))
    named = extract(tmp_path, checkpoint, some, num_sequences=8, num_groups=4)
    taken = extract(tmp_path, checkpoint, every, num_sequences=None, num_groups=4)
    pd.testing.assert_frame_equal(named, taken, check_exact=True)


@pytest.mark.parametrize(
    ("changes", "needed"), [({"num_groups": 16}, 16), ({"num_attention_sequences": 12}, 12)]
)
def test_a_corpus_too_small_for_what_was_asked_is_refused(tmp_path, changes, needed):
    checkpoint = build_checkpoint(tmp_path / "olmo")
    sequences = build_sequences(tmp_path / "ids.parquet", num_sequences=11)
    with pytest.raises(UserError, match=f"11 sequences are too few, as .* asks for {needed}"):
        extract(tmp_path, checkpoint, sequences, num_sequences=None, **changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_naive_implementation(tmp_path, family):
    model = build_model(family)
    checkpoint = build_checkpoint(tmp_path / family, model=model)
    input_ids = padded([16, 3, 9, 16, 1, 12, 7, 5])
    sequences = build_sequences(tmp_path / "ids.parquet", input_ids=input_ids)
    frame = extract(tmp_path, checkpoint, sequences, relu_gate=True)
    lengths = (input_ids != PAD_ID).sum(axis=1)

    def by_instance(values):
        means = [values[:, n, :length].mean(axis=1) for n, length in enumerate(lengths)]
        return np.stack(means, axis=1)  # (L, N, m)

    def by_group(values):
        return by_instance(values).reshape(2, 4, 2, 64).mean(axis=2).swapaxes(1, 2)

    c, relu = (naive_coefficients(model, input_ids, with_relu=relu) for relu in (False, True))
    terms = (np.abs(c), c, c**2, np.abs(c) > THRESHOLD)
    for column, values in zip(SUMMED, terms, strict=True):
        expected = by_instance(values).mean(axis=1)
        np.testing.assert_allclose(
            by_layer(frame, column)[..., 0], expected, rtol=2e-5, atol=1e-6, err_msg=column
        )
    for column, values in {
        "group_mean_absolute": np.abs(c),
        "group_mean": c,
        "group_mean_relu_gate": np.abs(relu),
    }.items():
        np.testing.assert_allclose(
            by_layer(frame, column), by_group(values), rtol=2e-5, atol=1e-6, err_msg=column
        )
    assert frame["group_mean_attribution"].isna().all()
    assert frame["layer"].tolist() == [0] * 64 + [1] * 64
    assert frame["memory"].tolist() == [*range(64), *range(64)]


def test_relu_takes_the_place_of_the_activation(tmp_path, sequences):
    """Equal to the coefficients of the first layer of the same weights under another activation."""
    frames = {}
    for activation in ("silu", "relu"):
        model = build_model("llama", hidden_act=activation)
        checkpoint = build_checkpoint(tmp_path / activation, model=model)
        frames[activation] = extract(tmp_path, checkpoint, sequences, relu_gate=True)
    relu = by_layer(frames["silu"], "group_mean_relu_gate")[0]
    np.testing.assert_allclose(relu, by_layer(frames["relu"], "group_mean_absolute")[0], rtol=1e-5)
    assert not np.allclose(relu, by_layer(frames["silu"], "group_mean_absolute")[0], rtol=0.1)


def test_memory_norms(tmp_path, checkpoint, sequences):
    model = load_model(checkpoint, device=torch.device("cpu"))
    frame = extract(tmp_path, checkpoint, sequences)
    expected = [
        np.linalg.norm(layer.mlp.down_proj.weight.detach().double().numpy(), axis=0)
        for layer in model.model.layers
    ]
    np.testing.assert_allclose(frame["memory_norm"], np.concatenate(expected), rtol=1e-12)


def test_batch_size_changes_nothing(tmp_path, checkpoint, sequences):
    frames = [
        extract(tmp_path, checkpoint, sequences, batch_size_sequences=size) for size in (1, 3, 8)
    ]
    for frame in frames[1:]:
        for column in SUMMED:
            np.testing.assert_allclose(frame[column], frames[0][column], rtol=1e-5, atol=1e-7)


def test_padding_never_counts(tmp_path, checkpoint):
    """Equal to running each sequence alone, cut to its own length; pads inside a text count."""
    lengths = [16, 3, 9, 16, 1, 12, 7, 5]
    input_ids = padded(lengths)
    input_ids[0, 4] = PAD_ID
    sequences = build_sequences(tmp_path / "ids.parquet", input_ids=input_ids)
    frame = extract(tmp_path, checkpoint, sequences)
    model = load_model(checkpoint, device=torch.device("cpu"))
    alone = [
        np.abs(naive_coefficients(model, row[None, :length])).mean(axis=(1, 2))
        for row, length in zip(input_ids, lengths, strict=True)
    ]
    expected = np.mean(alone, axis=0)
    np.testing.assert_allclose(by_layer(frame, "mean_absolute")[..., 0], expected, rtol=1e-5)


def test_reference_padding_sums_over_pads_too(tmp_path, checkpoint):
    input_ids = padded([16, 3, 9, 16, 1, 12, 7, 5])
    sequences = build_sequences(tmp_path / "ids.parquet", input_ids=input_ids)
    frame = extract(tmp_path, checkpoint, sequences, padding="reference")
    model = load_model(checkpoint, device=torch.device("cpu"))
    expected = np.abs(naive_coefficients(model, input_ids)).sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(by_layer(frame, "mean_absolute")[..., 0], expected, rtol=1e-5)


def test_only_the_first_sequences_are_measured(tmp_path, checkpoint):
    input_ids = random_sequences(8, 16)
    whole = build_sequences(tmp_path / "whole.parquet", input_ids=input_ids)
    part = build_sequences(tmp_path / "part.parquet", input_ids=input_ids[:4])
    frames = [extract(tmp_path, checkpoint, path, num_sequences=4) for path in (whole, part)]
    assert frames[0].equals(frames[1])


def test_same_inputs_same_bytes(tmp_path, checkpoint, sequences):
    written = []
    for _ in range(2):
        extract(tmp_path, checkpoint, sequences, **EVERYTHING)
        names = ("coefficients.parquet", "token_entropies.parquet")
        written.append([(tmp_path / name).read_bytes() for name in names])
    assert written[0] == written[1]


def test_what_is_asked_for_beside_changes_no_coefficient(tmp_path, checkpoint, sequences):
    """Up to rounding: batches end where the sequences for attention end."""
    plain = extract(tmp_path, checkpoint, sequences)
    assert len(read_frame(tmp_path / "token_entropies.parquet")) == 0
    more = extract(tmp_path, checkpoint, sequences, **EVERYTHING)
    for column in SUMMED:
        np.testing.assert_allclose(plain[column], more[column], rtol=1e-5, atol=1e-7)


def test_bf16_is_close_to_fp32(tmp_path, checkpoint, sequences):
    exact, rounded = (
        extract(tmp_path, checkpoint, sequences, precision=precision)["mean_absolute"]
        for precision in ("fp32", "bf16")
    )
    assert not exact.equals(rounded)
    assert np.median(np.abs(rounded / exact - 1)) < 0.01


def test_an_intervention_reaches_the_first_layer_exactly(tmp_path, checkpoint, sequences):
    """The first layer's input does not depend on the up rows, so its coefficients scale."""
    factors = torch.linspace(0.5, 3, 128).reshape(2, 64)
    path = tmp_path / "intervention.safetensors"
    save_file({"up_rows": factors}, path)
    plain = by_layer(extract(tmp_path, checkpoint, sequences), "mean_absolute")[0, :, 0]
    scaled = by_layer(extract(tmp_path, checkpoint, sequences, path), "mean_absolute")[0, :, 0]
    np.testing.assert_allclose(scaled, plain * factors[0].numpy(), rtol=1e-5)


def test_too_few_sequences_are_refused(tmp_path, checkpoint, sequences):
    with pytest.raises(UserError, match=r"extract_coefficients.num_sequences: 12 is more than"):
        extract(tmp_path, checkpoint, sequences, num_sequences=12)


def test_too_long_sequences_are_refused(tmp_path, checkpoint):
    long = build_sequences(tmp_path / "long.parquet", 8, MAX_LENGTH_TOKENS + 1)
    with pytest.raises(UserError, match="sequences of 65 tokens, the model takes at most 64"):
        extract(tmp_path, checkpoint, long)


def test_a_sequence_of_padding_is_refused(tmp_path, checkpoint):
    input_ids = padded([16, 0, 9, 16, 1, 12, 7, 5])
    sequences = build_sequences(tmp_path / "ids.parquet", input_ids=input_ids)
    with pytest.raises(UserError, match="sequence 1 of the corpus holds nothing but padding"):
        extract(tmp_path, checkpoint, sequences)


def test_overflow_is_refused(tmp_path, sequences):
    model = build_model()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(1e38)
    checkpoint = build_checkpoint(tmp_path / "huge", model=model)
    with pytest.raises(UserError, match="coefficients of layer 1 are not finite"):
        extract(tmp_path, checkpoint, sequences)


def entropies(tmp_path, checkpoint, sequences):
    """Return the model's entropy by every measure."""
    extract(tmp_path, checkpoint, sequences, relu_gate=True, num_attribution_sequences=8)
    aggregate_entropy.run(
        coefficients=tmp_path / "coefficients.parquet",
        token_entropies=tmp_path / "token_entropies.parquet",
        sequences=sequences,
        output_entropy=tmp_path / "entropy.parquet",
        output_replicates=tmp_path / "replicates.parquet",
        output_activity=tmp_path / "activity.parquet",
        output_distribution=tmp_path / "distribution.parquet",
        settings=AggregateEntropy(num_bootstrap=100, confidence=0.95, dormant_ratio=0.1, seed=0),
    )
    frame = read_frame(tmp_path / "entropy.parquet", ENTROPY)
    rows = frame[frame["layer"].isna() & (frame["quantity"] == "entropy_nats")]
    return dict(zip(rows["measure"], rows["value"], strict=True))


def rescale(model, factors):
    """Scale memory vectors by the factors (m,) and the up rows by their inverses, in place."""
    layers = feed_forward(model)
    with torch.no_grad():
        for index, layer in enumerate(model.model.layers):
            layers.up_rows(index).scale(1 / factors)
            if hasattr(layer.mlp, "experts"):  # (experts, d, n)
                layer.mlp.experts.down_proj.mul_(factors.view(4, 1, -1))
            else:
                layer.mlp.down_proj.weight.mul_(factors)


@pytest.mark.parametrize("family", ["olmo", "phi3", "mixtral"])
def test_rescaling_memories(tmp_path, sequences, family):
    """Memory vectors times a, their up rows by a: the same function, another absolute entropy."""
    found, logits = {}, {}
    factors = torch.linspace(0.1, 5, NUM_MEMORIES)
    for scaled in (False, True):
        model = build_model(family)
        if scaled:
            rescale(model, factors)
        checkpoint = build_checkpoint(tmp_path / f"{family}{scaled}", model=model)
        found[scaled] = entropies(tmp_path, checkpoint, sequences)
        with torch.inference_mode():
            ids = torch.tensor(random_sequences(1, 16)).long()
            logits[scaled] = model(ids).logits
    torch.testing.assert_close(logits[True], logits[False], rtol=1e-4, atol=1e-4)
    for measure in ("contribution", "attribution"):
        assert found[True][measure] == pytest.approx(found[False][measure], rel=1e-5)
    for measure in ("absolute", "positive", "relu_gate"):
        assert abs(found[True][measure] - found[False][measure]) > 0.1


def test_bf16_is_compared_with_fp32_on_the_first_sequence_of_each_group(tmp_path):
    """The table is that of bf16 alone; the difference reaches who reads the entropies."""
    checkpoint = build_checkpoint(tmp_path / "olmo")
    ids = random_sequences(8, 16)
    every, few = (build_sequences(tmp_path / f"{n}.parquet", input_ids=ids[:n]) for n in (8, 4))
    plain = extract(tmp_path, checkpoint, every, precision="bf16")
    entropies = {}
    for precision in ("bf16", "fp32"):
        table = extract(tmp_path, checkpoint, few, precision=precision, num_sequences=4)
        entropies[precision] = entropy_nats(by_layer(table, "mean_absolute")[..., 0]).sum()
    with provenance.recording("extract_coefficients", {}, {}):
        compared = extract(tmp_path, checkpoint, every, precision="bf16", compare_with_fp32=True)
    pd.testing.assert_frame_equal(compared, plain)
    place = tmp_path / "aggregate_entropy" / "olmo" / "step100" / "original" / "random"
    place.mkdir(parents=True)
    with provenance.recording("aggregate_entropy", {}, {}):
        aggregate_entropy.run(
            coefficients=tmp_path / "coefficients.parquet",
            token_entropies=tmp_path / "token_entropies.parquet",
            sequences=every,
            output_entropy=place / "entropy.parquet",
            output_replicates=place / "replicates.parquet",
            output_activity=place / "activity.parquet",
            output_distribution=place / "distribution.parquet",
            settings=AggregateEntropy(num_bootstrap=100),
        )
    (found,) = agreements([place / "entropy.parquet"])
    assert (found.model, found.step) == ("olmo", 100)
    assert found.differences == read_provenance(tmp_path / "coefficients.parquet")[NOTE]
    expected = entropies["bf16"] - entropies["fp32"]
    assert abs(expected) > 1e-6
    assert found.differences == {
        "precision": "bf16",
        "num_sequences": 4,
        "num_layers": NUM_LAYERS,
        "entropy_nats": pytest.approx(expected, rel=1e-6, abs=1e-9),
    }
