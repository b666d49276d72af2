"""Where learning writes: judged layer by layer, with the size beside."""

from __future__ import annotations

import pytest

from ke_steps.claims.updates import (
    CONCENTRATES,
    CORRELATION,
    P_VALUE,
    active_memories_change_most,
    late_stages_concentrate_updates,
)
from tests.invented.claims import RECIPE, Invented, finding_of


def updated(layers, seeds=(0, 1)):
    """Of each layer its correlation and p at the last stage; earlier stages say the opposite."""
    found = Invented()
    for step, sign in ((100, -1), (200, 1)):
        for seed in seeds:
            place = {"step": step, "recipe": RECIPE, "seed": seed}
            mean = sum(value for value, _ in layers) / len(layers)
            found.value(CORRELATION, sign * mean, **place)
            for layer, (value, p_value) in enumerate(layers):
                found.value(CORRELATION.of(f"layer {layer}"), sign * value, **place)
                found.value(P_VALUE.of(f"layer {layer}"), p_value, **place)
    return found


@pytest.mark.parametrize(
    ("layers", "expected", "size"),
    [
        ([(0.4, 0.001), (0.35, 0.001)], "supported", "medium"),
        ([(0.05, 0.001), (0.04, 0.02)], "supported", "negligible"),
        ([(-0.2, 0.001), (0.5, 0.001)], "not supported", "small"),
        ([(-0.2, 0.03), (0.5, 0.001)], "inconclusive", "small"),
        ([(0.2, 0.3), (0.5, 0.001)], "inconclusive", "medium"),
    ],
)
def test_every_layer_counts(layers, expected, size):
    finding = finding_of(updated(layers), active_memories_change_most)
    assert finding.verdict == expected
    assert size in finding.evidence


def test_the_largest_p_of_the_seeds_counts():
    found = updated([(0.3, 0.001), (0.3, 0.001)])
    found.value(P_VALUE.of("layer 1"), 0.4, 200, recipe=RECIPE, seed=2)
    assert finding_of(found, active_memories_change_most).verdict == "inconclusive"


@pytest.mark.parametrize(("seeds", "expected"), [((0, 1, 2), "supported"), ((0,), "not tested")])
def test_concentration_needs_seeds(seeds, expected):
    found = Invented()
    for place in range(5):
        for seed in seeds:
            value = 20 - 0.2 * place + 0.01 * ((place * 7 + seed * 3) % 5)
            found.value(CONCENTRATES.measure, value, 100 * (place + 1), recipe=RECIPE, seed=seed)
    assert finding_of(found, late_stages_concentrate_updates).verdict == expected
