"""Runs over learning rates whose frontiers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ke_steps.settings.learning import ORIGINAL
from tests.invented.claims import Invented, answers, passages

RATES = {"baseline": 2.5e-4, "lr5e-4": 5e-4, "lr1e-3": 1e-3, "lr2e-3": 2e-3}
VARIANT = "gauge"
Curve = Sequence[tuple[float, float]]
"""P and K after learning, by learning rate."""


def line(
    accuracies: Sequence[float] = (0.8, 0.7, 0.6, 0.5), *, start: float = -3.0, slope: float = 5.0
) -> Curve:
    """Return points of K = start - slope · P."""
    return [(accuracy, start - slope * accuracy) for accuracy in accuracies]


def swept(
    curves: Mapping[tuple[int, str], Curve],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    noise: float = 0.02,
    num_passages: int = 60,
    generator_seed: int = 0,
    **settings: Any,
) -> Invented:
    """Return a model that learned at as many rates as its curves have, by step and variant.

    K before is -10; passages and seeds move K alike everywhere, each run by ``noise`` beside.
    """
    generator = np.random.default_rng(generator_seed)
    of_passages = passages(generator, 0.0, num_passages)
    of_passages -= of_passages.mean()
    of_seeds = 0.1 * generator.normal(size=max(seeds) + 1)
    kinds = {variant: "resuscitate" for _, variant in curves if variant != ORIGINAL}
    found = Invented(variant_kinds=kinds, frontiers={"baseline": RATES}, **settings)
    for (step, variant), curve in curves.items():
        found.accuracy(step, answers(0.9), variant=variant)
        for recipe, (accuracy, knowledge) in zip(RATES, curve, strict=False):
            for seed in seeds:
                own = noise * generator.normal(size=num_passages)
                after = of_passages + knowledge + of_seeds[seed] + own
                before = of_passages - 10
                found.run(
                    step, seed, (before, after), answers(accuracy), variant=variant, recipe=recipe
                )
    return found
