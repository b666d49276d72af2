"""Sums over tokens, dense and routed, whatever the chunks."""

from functools import partial

import pytest
import torch

from ke_steps.measuring.moments import (
    CHUNK_ELEMENTS,
    coefficient_terms,
    sum_over_routed_tokens,
    sum_over_tokens,
)
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
