"""Sums over tokens, dense and routed, whatever the chunks, on a CPU and as on a GPU."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ke_steps.measuring import moments
from ke_steps.measuring.attributions import ATTRIBUTION
from ke_steps.measuring.instances import batch_places, gather_instances
from ke_steps.measuring.moments import (
    GroupMeans,
    coefficient_terms,
    rounded_down,
    sums_by_reduction,
    sums_in_cache,
)
from ke_steps.models.feed_forward import Coefficients
from tests.invented.extraction import THRESHOLD

TERMS = coefficient_terms(THRESHOLD, with_relu=True)

on_both_devices = pytest.mark.parametrize("summed", [sums_in_cache, sums_by_reduction])


def stacked_terms(c, relu):
    return torch.stack([c.abs(), c, c.square(), (c.abs() > THRESHOLD).to(c.dtype), relu.abs()])


@on_both_devices
@pytest.mark.parametrize("elements", [1, 7, 30, 75, 150, 2**18])
def test_chunks_change_nothing(monkeypatch, summed, elements):
    monkeypatch.setattr(moments, "CACHE_ELEMENTS", elements)
    monkeypatch.setattr(moments, "GPU_ELEMENTS", elements)
    c, relu = torch.randn(2, 3, 10, 7)
    torch.testing.assert_close(summed(TERMS, c, relu), stacked_terms(c, relu).sum(2))
    attribution = summed(ATTRIBUTION, c, relu)
    torch.testing.assert_close(attribution, (c * relu).abs().sum(1)[None])


@on_both_devices
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_of_many_tokens_are_those_in_fp64(summed, dtype):
    """In bf16 too: sums and squares are fp32. The threshold is one of the numbers."""
    threshold = torch.tensor(0.3).to(dtype).item()
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(1, 3000, 5, generator=generator).to(dtype)
    c[0, 10:40] = threshold
    exact = c.double()
    active = (exact.abs() > threshold).double()
    wanted = torch.stack([exact.abs(), exact, exact.square(), active]).sum(2)
    found = summed(coefficient_terms(threshold), c).double()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-3)
    assert torch.equal(found[3], wanted[3])


@on_both_devices
def test_measuring_leaves_coefficients_untouched(summed):
    c, relu = torch.randn(2, 2, 5, 7)
    before = c.clone(), relu.clone()
    summed(TERMS, c, relu)
    assert torch.equal(c, before[0])
    assert torch.equal(relu, before[1])


@pytest.mark.parametrize("length", [4, 6])
def test_each_instance_has_the_tokens_routed_from_its_counted_positions(length):
    """Of three instances of six positions, the second gives the expert no token that counts."""
    instances = gather_instances(
        np.zeros((3, 6), dtype=np.int32), np.full(3, length), padding="exclude", num_groups=3
    )
    routed = torch.tensor([[0, 1], [0, 3], [0, 5], [1, 4], [1, 5], [2, 0]])
    if length == 6:
        routed = routed[[0, 1, 2, 5]]
    c, relu = torch.randn(2, len(routed), 7)
    means = GroupMeans(TERMS, SimpleNamespace(num_layers=1, num_memories=7), 3, torch.device("cpu"))
    means.start_batch(instances)
    means.add(Coefficients(0, 0, c, None, routed), relu)
    found = np.stack([values[0] for values in means.finish(3).values()])
    terms = stacked_terms(c.double(), relu.double())
    for instance in range(3):
        rows = (routed[:, 0] == instance) & (routed[:, 1] < length)
        wanted = terms[:, rows].sum(1) / length
        np.testing.assert_allclose(found[:, instance], wanted, rtol=0, atol=1e-6)


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
    means = GroupMeans(TERMS, layers, 3, torch.device("cpu"))
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
    for name, wanted in zip(TERMS.names, expected.numpy(), strict=True):
        np.testing.assert_allclose(found[name][1, :, 2:], wanted, rtol=0, atol=2e-6)
        assert not found[name][0].any()
        assert not found[name][1, :, :2].any()


@on_both_devices
@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.1, 0.25, 0.3, 1.0])
def test_active_in_bf16_is_what_is_above_the_threshold_itself(summed, threshold):
    """All numbers near the threshold, which in bf16 is another one."""
    c = torch.arange(-(2**14), 2**14, dtype=torch.float32).mul(2.0**-13).bfloat16()
    c = torch.cat([c, torch.tensor(threshold).bfloat16()[None]])
    terms = coefficient_terms(rounded_down(threshold, torch.bfloat16))
    active = summed(terms, c[None, None])[3, 0]
    assert torch.equal(active.bool(), c.double().abs() > threshold)
