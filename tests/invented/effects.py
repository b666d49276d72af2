"""Runs of a checkpoint as gauge, function, both and neither, whose effects are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.invented.claims import Invented, answers, passages
from tests.invented.frontiers import RATES

STEP = 400
NUMBERS = {"quantile": 0.5, "boost": 2.0}
PARTS = {"original": (0, 0), "turned": (0, 1), "bent": (1, 0), "woken": (1, 1)}
"""By variant, how much of function and of gauge it has."""
VARIANTS: dict[str, dict[str, Any]] = {
    "turned": {"kind": "gauge", **NUMBERS},
    "bent": {"kind": "function", **NUMBERS},
    "woken": {"kind": "resuscitate", **NUMBERS},
}
NOTHING = (0.0, 0.0)
Change = tuple[float, float]
"""Of K and of P after learning."""


def draws(*changes: Change, kind: str = "permuted", of: str = "resuscitate") -> dict[str, Any]:
    """Return draws of a control with what each changes."""
    settings = {"kind": kind, "of": of, **NUMBERS}
    return {f"{kind}_{of}_draw{number}": (settings, each) for number, each in enumerate(changes)}


def crossed(
    *,
    function: Change = NOTHING,
    gauge: Change = NOTHING,
    interaction: Change = NOTHING,
    controls: Mapping[str, tuple[dict[str, Any], Change]] | None = None,
    without: Sequence[str] = (),
    growth: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0, 1, 2),
    noise: float = 0.02,
    moved: float = 1.0,
    alone: Change | None = None,
    num_items: int = 400,
    generator: np.random.Generator | None = None,
    **settings: Any,
) -> Invented:
    """Return a checkpoint that learned as each arm, by as many rates as ``growth`` has.

    K is -10 before and -7 after, P 80 % and 60 % but for the changes, which grow with the rate as
    said; the gauge moves H by ``moved``. By the recipe ``compensated`` the gauge changes
    ``alone``. Passages move all runs alike, ``noise`` moves each by
    itself, in the mean and passage by passage.
    """
    generator = generator or np.random.default_rng(0)
    of_passages = passages(generator, 0.0)
    of_passages -= of_passages.mean()
    controls = controls or {}
    variants = VARIANTS | {name: told for name, (told, _) in controls.items()}
    changes = {
        name: tuple(
            a * f + b * g + a * b * both
            for f, g, both in zip(function, gauge, interaction, strict=True)
        )
        for name, (a, b) in PARTS.items()
    } | {name: change for name, (_, change) in controls.items()}
    recipes = list(RATES)[: len(growth)]
    found = Invented(
        variants={name: told for name, told in variants.items() if name not in without},
        frontiers={"baseline": {name: RATES[name] for name in recipes}} if growth[1:] else {},
        compensated=["compensated"] if alone else [],
        **settings,
    )
    groups = generator.normal(size=16)
    for name, (new, old) in changes.items():
        if name in without:
            continue
        _, is_turned = PARTS.get(name, (0, 1))
        entropy = 20 + groups + moved * is_turned + 0.01 * generator.normal(size=16)
        found.entropies(STEP, {"model": entropy}, name)
        found.accuracy(STEP, answers(0.8, num_items), variant=name)
        learned = [
            (recipe, times, (new, old)) for recipe, times in zip(recipes, growth, strict=True)
        ]
        if alone and name in ("original", "turned"):
            learned.append(("compensated", 1.0, alone if name == "turned" else NOTHING))
        for recipe, times, (more, kept) in learned:
            for seed in seeds:
                level = -7 + times * more + noise * generator.normal()
                own = noise * generator.normal(size=len(of_passages))
                knowledge = (of_passages - 10, of_passages + level + own)
                right = answers(0.6 + times * kept, num_items)
                found.run(STEP, seed, knowledge, right, variant=name, recipe=recipe)
    return found
