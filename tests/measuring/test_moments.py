"""Sums over tokens, dense and routed, whatever the chunks."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ke_steps.measuring.instances import batch_places, gather_instances
from ke_steps.measuring.moments import (
    CHUNK_ELEMENTS,
    GroupMeans,
    coefficient_terms,
    rounded_down,
    sum_over_routed_tokens,
    sum_over_tokens,
)
from ke_steps.models.feed_forward import Coefficients
from tests.invented.extraction import THRESHOLD

TERMS = partial(coefficient_terms, active_threshold=THRESHOLD)


def stacked_terms(c, relu):
    return torch.stack([c.abs(), c, c.square(), (c.abs() > THRESHOLD).float(), relu.abs()])


@pytest.mark.parametrize("elements", [1, 7, 30, 75, 150, 2**18])
def test_chunks_change_nothing(monkeypatch, elements):
    monkeypatch.setitem(CHUNK_ELEMENTS, "cpu", elements)
    c, relu = torch.randn(2, 3, 10, 7)
    dense = sum_over_tokens(TERMS, 5, [c, relu])
    torch.testing.assert_close(dense, stacked_terms(c, relu).sum(2))
    instance = torch.tensor([2, 0, 0, 2, 2, 0, 2, 0, 0, 2])
    routed = sum_over_routed_tokens(TERMS, 5, [c[0], relu[0]], instance, 3)
    for n in range(3):
        terms = stacked_terms(c[0], relu[0])[:, instance == n]
        torch.testing.assert_close(routed[:, n], terms.sum(1))


def test_measuring_leaves_coefficients_untouched():
    c = torch.randn(2, 5, 7)
    before = c.clone()
    sum_over_tokens(TERMS, 4, [c])
    assert torch.equal(c, before)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 12])
@pytest.mark.parametrize("padding", ["exclude", "reference"])
def test_means_of_groups_are_those_of_brute_force(batch_size, padding):
    """Three groups of four: batches begin and end inside of groups, or hold several."""
    lengths = np.random.default_rng(0).integers(1, 10, 12)
    generator = torch.Generator().manual_seed(0)
    c, relu = torch.randn(2, 12, 9, 5, generator=generator, dtype=torch.float64)
    input_ids = np.zeros((12, 9), dtype=np.int32)
    instances = gather_instances(input_ids, lengths, padding=padding, num_groups=3)
    layers = SimpleNamespace(num_layers=2, num_memories=7)
    names = ["absolute", "signed", "square", "active", "relu_gate"]
    means = GroupMeans(names, TERMS, layers, 3, torch.device("cpu"))
    for place, batch in instances.in_batches(batch_places(12, batch_size), "test"):
        means.start_batch(batch)
        rows = slice(place.start, place.stop)
        means.add(Coefficients(1, 2, c[rows].float(), None, None), relu[rows].float())
    found = means.finish(12)
    terms = stacked_terms(c, relu)
    expected = torch.zeros(5, 3, 5, dtype=torch.float64)
    for instance, length in enumerate(lengths):
        if padding == "exclude":
            mean = terms[:, instance, :length].mean(1)
        else:
            mean = terms[:, instance].sum(1)
        expected[:, instance // 4] += mean / 4
    for name, wanted in zip(names, expected.numpy(), strict=True):
        np.testing.assert_allclose(found[name][1, :, 2:], wanted, rtol=0, atol=2e-6)
        assert not found[name][0].any()
        assert not found[name][1, :, :2].any()


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.1, 0.25, 0.3, 1.0])
def test_active_in_bf16_is_what_is_above_the_threshold_itself(threshold):
    """All numbers near the threshold, which in bf16 is another one."""
    c = torch.arange(-(2**14), 2**14, dtype=torch.float32).mul(2.0**-13).bfloat16()
    c = torch.cat([c, torch.tensor(threshold).bfloat16()[None]])
    active = list(coefficient_terms(c, active_threshold=rounded_down(threshold, torch.bfloat16)))[3]
    assert torch.equal(active.bool(), c.double().abs() > threshold)
