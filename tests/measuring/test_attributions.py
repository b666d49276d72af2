"""Attributions against autograd on full logits, finite differences and each sequence alone."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ke_steps.job.errors import UserError
from ke_steps.measuring import attributions, moments
from ke_steps.measuring.attributions import measure_attributions
from ke_steps.measuring.instances import gather_instances
from ke_steps.models.feed_forward import feed_forward
from tests.invented.extraction import padded
from tests.invented.models import build_model

LENGTHS = [16, 3, 9, 1]


def measure(model, input_ids, lengths, *, padding="exclude", num_groups=2, batch_size=3):
    instances = gather_instances(
        input_ids, np.array(lengths), padding=padding, num_groups=num_groups
    )
    return measure_attributions(
        copy.deepcopy(model), instances, batch_size_sequences=batch_size, num_groups=num_groups
    )


def sequence_loss(model, ids):
    logits = model(ids[None].long()).logits[0]
    return F.cross_entropy(logits[:-1], ids[1:].long(), reduction="sum")


def brute_force(model, input_ids, lengths):
    """Return |c · ∂L/∂c| summed over tokens (L, N, m), each sequence alone, full logits, fp64."""
    model = copy.deepcopy(model).double()
    layers = feed_forward(model)
    found = np.zeros((layers.num_layers, len(lengths), layers.num_memories))
    for row, length in enumerate(lengths):
        kept = []

        def keep(observed, kept=kept):
            observed.values.retain_grad()
            kept.append(observed)

        with layers.observing(keep):
            sequence_loss(model, torch.tensor(input_ids[row, :length])).backward()
        for observed in kept:
            terms = (observed.values * observed.values.grad).abs().detach()
            first, n = observed.first_memory, terms.shape[-1]
            sums = terms.reshape(-1, n).sum(0)
            found[observed.layer, row, first : first + n] += sums.numpy()
    return found


@pytest.mark.parametrize("family", ["olmo", "gpt_neox", "gpt2", "gemma2", "phi3", "olmoe"])
def test_equals_brute_force(family):
    model = build_model(family)
    input_ids = padded(LENGTHS)
    means = brute_force(model, input_ids, LENGTHS) / np.array(LENGTHS)[:, None]
    expected = means.reshape(2, 2, 2, -1).mean(axis=2)
    found = measure(model, input_ids, LENGTHS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())
    assert expected.min() >= 0
    assert expected.max() > 0.01


def test_equals_finite_differences():
    """Central differences of the loss when one coefficient of one token is moved."""
    model = build_model("gpt_neox").double()
    ids = torch.tensor(padded([16])[0])
    modules = [layer.mlp.dense_4h_to_h for layer in model.gpt_neox.layers]
    moved, coefficients = {}, {}

    def move(module, given):
        (c,) = given
        coefficients[module] = c
        where, amount = moved.get(module, ((0, 0), 0.0))
        change = torch.zeros_like(c)
        change[(0, *where)] = amount
        return (c + change,)

    for module in modules:
        module.register_forward_pre_hook(move)
    epsilon, memories = 1e-5, [0, 17, 63]
    expected = np.zeros((2, len(memories)))
    with torch.no_grad():
        for layer, module in enumerate(modules):
            for column, memory in enumerate(memories):
                for token in range(16):
                    losses = []
                    for sign in (1, -1):
                        moved = {module: ((token, memory), sign * epsilon)}
                        losses.append(sequence_loss(model, ids).item())
                    slope = (losses[0] - losses[1]) / (2 * epsilon)
                    c = coefficients[module][0, token, memory].item()
                    expected[layer, column] += abs(c * slope) / 16
    found = measure(build_model("gpt_neox"), ids.numpy()[None], [16], num_groups=1)
    np.testing.assert_allclose(found[:, 0, memories], expected, rtol=1e-3)


def test_chunks_and_batches_change_nothing(monkeypatch):
    model = build_model("olmo")
    input_ids = padded(LENGTHS)
    whole = measure(model, input_ids, LENGTHS, batch_size=4)
    monkeypatch.setattr(attributions, "CHUNK_POSITIONS", 5)
    monkeypatch.setattr(moments, "CACHE_ELEMENTS", 100)
    parts = measure(model, input_ids, LENGTHS, batch_size=1)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-8)


def test_reference_padding_takes_pads_for_tokens():
    model = build_model("olmo")
    input_ids = padded(LENGTHS)
    found = measure(model, input_ids, LENGTHS, padding="reference", num_groups=4)
    expected = brute_force(model, input_ids, [16] * 4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_bf16_is_close_to_fp32():
    exact = measure(build_model("olmo"), padded([16] * 4), [16] * 4)
    model = build_model("olmo")
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    rounded = measure(model, padded([16] * 4), [16] * 4)
    assert 0 < np.median(np.abs(rounded / exact - 1)) < 0.02


def test_attributions_that_are_not_finite_are_refused():
    model = build_model("olmo")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(1e38)
    with pytest.raises(UserError, match=r"are not finite \(attribution\)"):
        measure(model, padded(LENGTHS), LENGTHS)
