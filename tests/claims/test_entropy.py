"""Entropy falls, by every measure, on every corpus and in every layer, by a size of interest."""

from __future__ import annotations

import numpy as np
import pytest

from ke_steps.claims.entropy import entropy_falls, every_layer_falls, last_layer_falls_most
from tests.invented.claims import Invented, finding_of

NUM_LAYERS = 4


def course(falls_of_layers, num_stages=5, undefined=()):
    """Layers whose H falls by so much over the stages; groups of sequences differ by more."""
    found = Invented()
    generator = np.random.default_rng(0)
    levels = generator.normal(size=16)
    for place in range(num_stages):
        layers = [
            5 + levels - fall * place / (num_stages - 1) + 0.012 * generator.normal(size=16)
            for fall in falls_of_layers
        ]
        groups = {"model": np.sum(layers, axis=0)}
        groups |= {f"layer {layer}": values for layer, values in enumerate(layers)}
        if place in undefined:
            groups = {name: np.full(16, np.nan) for name in groups}
        found.entropies(100 * (place + 1), groups)
    return found


@pytest.mark.parametrize(
    ("fall", "expected"),
    [
        (0.1, "supported"),
        (0.003, "not supported"),
        (-0.1, "not supported"),
        (0.006, "inconclusive"),
    ],
)
def test_a_fall_is_one_of_interest(fall, expected):
    finding = finding_of(course([fall] * NUM_LAYERS), entropy_falls)
    assert finding.verdict == expected
    assert finding.estimate.value == pytest.approx(-NUM_LAYERS * fall, abs=0.03)
    assert "0.040 nats, the smallest fall of interest" in finding.rule
    assert "not other pretraining runs" in finding.rule


def test_too_few_stages_are_not_tested():
    for rule in (entropy_falls, every_layer_falls, last_layer_falls_most):
        assert finding_of(course([0.1] * NUM_LAYERS, num_stages=3), rule).verdict == "not tested"


def test_every_layer_means_every_one():
    assert finding_of(course([0.1] * NUM_LAYERS), every_layer_falls).verdict == "supported"
    one_rises = finding_of(course([0.1, 0.1, -0.1, 0.1]), every_layer_falls)
    assert one_rises.verdict == "not supported"
    assert "the weakest is layer 2" in one_rises.evidence


def test_the_last_layer_falls_most_against_every_other():
    assert finding_of(course([0.1, 0.1, 0.1, 0.3]), last_layer_falls_most).verdict == "supported"
    rival = finding_of(course([0.1, 0.4, 0.1, 0.3]), last_layer_falls_most)
    assert rival.verdict == "not supported"
    assert "layer 1" in rival.evidence


def test_a_stage_without_an_entropy_is_left_out_and_said():
    finding = finding_of(course([0.1] * NUM_LAYERS, num_stages=6, undefined=(0,)), entropy_falls)
    assert finding.verdict == "supported"
    assert finding.num_points == 5
    assert "not defined there: step 100" in finding.evidence
