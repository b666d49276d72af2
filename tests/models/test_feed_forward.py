"""Every family's feed-forward layers as memories, against its weights multiplied out by hand."""

import pytest
import torch
from torch.nn import functional as F

from ke_steps.models.feed_forward import describe_model, feed_forward
from tests.invented.models import (
    FAMILIES,
    HIDDEN_SIZE,
    NUM_LAYERS,
    NUM_MEMORIES,
    VOCAB_SIZE,
    build_model,
    random_sequences,
)

UNGATED = ["gpt_neox", "gpt2"]
MIXTURES = ["olmoe", "mixtral"]
M, D, L = NUM_MEMORIES, HIDDEN_SIZE, NUM_LAYERS

each_family = pytest.mark.parametrize("family", FAMILIES)


def token_ids():
    return torch.from_numpy(random_sequences(3, 16)).long()


def decoder_layers(model):
    body = model.base_model
    return list(body.h if hasattr(body, "h") else body.layers)


def observe(model, *, with_relu=False):
    """Return, by layer, the coefficients (and ReLU's), and inputs and outputs of the FFN modules.

    Coefficients come as (B, T, m), zero where a token was not routed.
    """
    values, relu = ([torch.zeros(3, 16, M) for _ in range(L)] for _ in range(2))
    passes, inputs, outputs = [0] * L, [None] * L, [None] * L

    def keep(c):
        columns = slice(c.first_memory, c.first_memory + c.values.shape[-1])
        rows = (slice(None), slice(None)) if c.routed is None else tuple(c.routed.T)
        values[c.layer][(*rows, columns)] = c.values
        assert (c.relu is not None) == with_relu
        if with_relu:
            relu[c.layer][(*rows, columns)] = c.relu
        passes[c.layer] += 1

    def record(layer):
        def hook(_, given, result):
            inputs[layer], outputs[layer] = given[0], result

        return hook

    handles = [
        layer.mlp.register_forward_hook(record(index))
        for index, layer in enumerate(decoder_layers(model))
    ]
    with torch.no_grad(), feed_forward(model).observing(keep, with_relu=with_relu):
        model.base_model(input_ids=token_ids(), use_cache=False)
    for handle in handles:
        handle.remove()
    assert all(passes)
    return values, relu, inputs, outputs


def weights_of(mlp, family):
    """Return gate, up (m, d), their biases, the output (m, d) and its bias; None where absent."""
    if family == "gpt2":
        return None, mlp.c_fc.weight.T, None, mlp.c_fc.bias, mlp.c_proj.weight, mlp.c_proj.bias
    if family == "gpt_neox":
        up, down = mlp.dense_h_to_4h, mlp.dense_4h_to_h
        return None, up.weight, None, up.bias, down.weight.T, down.bias
    if family == "phi3":
        gate_up = mlp.gate_up_proj.weight
        return gate_up[:M], gate_up[M:], None, None, mlp.down_proj.weight.T, None
    if family in MIXTURES:
        n = M // 4
        experts = list(zip(mlp.experts.gate_up_proj, mlp.experts.down_proj, strict=True))
        gate = torch.cat([gate_up[:n] for gate_up, _ in experts])
        up = torch.cat([gate_up[n:] for gate_up, _ in experts])
        return gate, up, None, None, torch.cat([down.T for _, down in experts]), None
    return mlp.gate_proj.weight, mlp.up_proj.weight, None, None, mlp.down_proj.weight.T, None


def router_weights(mlp, x, family):
    """Return what the router gives every memory (B, T, m), zero for all but the top two experts."""
    probabilities = torch.softmax(x @ mlp.gate.weight.T, dim=-1)
    top = probabilities >= probabilities.sort(dim=-1, descending=True).values[..., [1]]
    weights = probabilities * top
    if family == "mixtral":
        weights = weights / weights.sum(dim=-1, keepdim=True)
    return weights.repeat_interleave(M // 4, dim=-1)


def expected_coefficients(mlp, x, family, activation):
    gate, up, gate_bias, up_bias, _, _ = weights_of(mlp, family)
    if gate is None:
        return activation(F.linear(x, up, up_bias))
    coefficients = activation(F.linear(x, gate, gate_bias)) * F.linear(x, up, up_bias)
    return coefficients * router_weights(mlp, x, family) if family in MIXTURES else coefficients


def activation_of(family):
    tanh = {"gemma2", "gemma3_text", "gpt2"}
    if family in tanh:
        return lambda x: F.gelu(x, approximate="tanh")
    return F.gelu if family == "gpt_neox" else F.silu


@each_family
def test_memories_times_coefficients_are_the_layer(family):
    model = build_model(family)
    layers = feed_forward(model)
    values, _, _, outputs = observe(model)
    for index, layer in enumerate(decoder_layers(model)):
        vectors, bias = layers.memory_vectors(index), weights_of(layer.mlp, family)[-1]
        total = sum(values[index][..., [i]] * vectors[i] for i in range(M))
        total = total if bias is None else total + bias
        torch.testing.assert_close(total, outputs[index], rtol=1e-5, atol=1e-5)


@each_family
def test_observing_changes_nothing(family):
    """A mixture that is observed runs otherwise than one that is not."""
    model = build_model(family)
    with torch.no_grad():
        plain = model(token_ids()).logits
        with feed_forward(model).observing(lambda _: None):
            observed = model(token_ids()).logits
        again = model(token_ids()).logits
    torch.testing.assert_close(observed, plain, rtol=1e-5, atol=1e-5)
    assert torch.equal(again, plain)


@each_family
def test_coefficients_and_relu_equal_brute_force(family):
    model = build_model(family)
    values, relu, inputs, _ = observe(model, with_relu=True)
    for index, layer in enumerate(decoder_layers(model)):
        for found, activation in ((values, activation_of(family)), (relu, F.relu)):
            expected = expected_coefficients(layer.mlp, inputs[index], family, activation)
            torch.testing.assert_close(found[index], expected, rtol=1e-5, atol=1e-5)


@each_family
def test_vectors_and_keys_are_the_weights(family):
    model = build_model(family)
    layers = feed_forward(model)
    assert (layers.num_layers, layers.num_memories) == (L, M)
    assert layers.is_gated == (family not in UNGATED)
    for index, layer in enumerate(decoder_layers(model)):
        gate, up, _, _, vectors, _ = weights_of(layer.mlp, family)
        assert torch.equal(layers.memory_vectors(index), vectors)
        expected = [up] if gate is None else [gate, up]
        for found, rows in zip(layers.keys(index), expected, strict=True):
            assert tuple(found.shape) == (M, D)
            assert torch.equal(found, rows)


@each_family
def test_gradients_reach_the_coefficients(family):
    """∂L/∂cᵢ = vᵢ · ∂L/∂FFN, which also says that c is in the graph as it is used."""
    model = build_model(family)
    layers, seen, outputs = feed_forward(model), [], {}

    def keep(c):
        c.values.retain_grad()
        seen.append(c)

    def retain(module, _, result):
        result.retain_grad()
        outputs[module] = result

    mlps = [layer.mlp for layer in decoder_layers(model)]
    for mlp in mlps:
        mlp.register_forward_hook(retain)
    with layers.observing(keep):
        logits = model(token_ids()).logits
    torch.log_softmax(logits, dim=-1)[..., 5].sum().backward()
    assert {c.layer for c in seen} == set(range(L))
    for c in seen:
        gradient = outputs[mlps[c.layer]].grad
        gradient = gradient if c.routed is None else gradient[tuple(c.routed.T)]
        vectors = layers.memory_vectors(c.layer)[c.first_memory :][: c.values.shape[-1]]
        assert c.values.grad.abs().max() > 0
        torch.testing.assert_close(c.values.grad, gradient @ vectors.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in UNGATED])
def test_up_rows_scale_the_coefficients(family):
    model, scaled = build_model(family), build_model(family)
    factors = torch.rand(L, M) * 3
    for index in range(L):
        feed_forward(scaled).up_rows(index).scale(factors[index])
    before, _, inputs, _ = observe(model)
    after, _, _, _ = observe(scaled)
    torch.testing.assert_close(after[0], before[0] * factors[0], rtol=1e-5, atol=1e-5)
    # the second layer has another input by now: the same input by hand
    mlp, activation = decoder_layers(scaled)[1].mlp, activation_of(family)
    found = expected_coefficients(mlp, inputs[1], family, activation)
    torch.testing.assert_close(found, before[1] * factors[1], rtol=1e-5, atol=1e-5)


@each_family
def test_sizes_are_described(family):
    model = build_model(family)
    described = describe_model(model)
    assert described == {
        "architecture": type(model).__name__,
        "num_layers": L,
        "num_memories": M,
        "hidden_size": D,
        "vocab_size": VOCAB_SIZE,
    }
