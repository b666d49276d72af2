"""Each state at its best learning rate: chosen on half of the passages, judged on the other half.

The best of several rates looks better than it is on the passages that it was chosen on. So each
half chooses for the other, and what is told is the mean of both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ke_steps.artefacts.places import Identity
from ke_steps.artefacts.replicates import name_of_units
from ke_steps.claims.frontiers import Frontiers, paired
from ke_steps.claims.measured import Measured, State
from ke_steps.formulas.bootstrap import bootstrap_weights
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate, Sampled
from ke_steps.job.errors import UserError

Array = NDArray[np.float64]


class Best(NamedTuple):
    """One state at its best rate."""

    recipes: tuple[str, str]
    """Chosen on the passages that are first, third and so on in their order, and on the others."""
    knowledge: dict[int, Sampled]
    """K after learning by seed, each half at the rate that the other chose."""
    accuracy: dict[int, Sampled]
    """P after learning by seed, the mean of the two rates'."""


def best_of(found: Frontiers) -> dict[State, Best]:
    """Return every state with a whole frontier at its best rate; none of one passage alone.

    Raises:
        UserError: two runs were asked other passages.
    """
    num_passages = max(map(len, found.measured.passages.values()), default=0)
    return {state: _best(found, state) for state in found.areas if num_passages > 1}


def lead_at_best(
    found: Frontiers, best: dict[State, Best], state: State, reference: State
) -> tuple[Estimate, Estimate]:
    """Return by how much K and P are higher at a state's best rate than at the reference's."""
    if not {state, reference} <= best.keys():
        return UNKNOWN, UNKNOWN
    seeds = [seed for seed in best[state].knowledge if seed in best[reference].knowledge]
    if not seeds:
        return UNKNOWN, UNKNOWN
    knowledge, accuracy = (
        {place: getattr(each, name) for place, each in best.items()}
        for name in ("knowledge", "accuracy")
    )
    of_knowledge, of_accuracy = (
        paired(found.measured, part, state, reference, seeds) for part in (knowledge, accuracy)
    )
    return of_knowledge, of_accuracy


def _best(found: Frontiers, state: State) -> Best:
    recipes, points = found.states[state]
    values = _by_passage(found.measured, state, recipes, list(points))
    means = [values[:, :, half::2].mean(axis=(1, 2)) for half in (0, 1)]
    first, second = (int(np.argmax(mean)) for mean in means)
    weights, units = _resamples(found.measured, values.shape[2])
    knowledge, accuracy = {}, {}
    for place, (seed, own) in enumerate(points.items()):
        halves = [values[second, place, 0::2], values[first, place, 1::2]]
        drawn = np.mean([w @ half for w, half in zip(weights, halves, strict=True)], axis=0)
        mean = float(np.mean([half.mean() for half in halves]))
        knowledge[seed] = Sampled(mean, drawn, 0.0, units)
        kept = own.accuracy[:, [first, second]].mean(axis=1)
        accuracy[seed] = Sampled(float(kept[0]), kept[1:], own.unresolved, own.units)
    return Best((recipes[first], recipes[second]), knowledge, accuracy)


def _by_passage(measured: Measured, state: State, recipes: list[str], seeds: list[int]) -> Array:
    """Return K after learning (recipes, seeds, passages)."""
    runs = [Identity(measured.model, *state, recipe, seed) for recipe in recipes for seed in seeds]
    scores = pd.DataFrame({place: measured.passages[run] for place, run in enumerate(runs)})
    if scores.isna().any(axis=None):
        raise UserError(
            f"{measured.model}: recipes {', '.join(recipes)} were asked other passages at step"
            f" {state.step}, {state.variant}; make them again"
        )
    return scores.to_numpy(float).T.reshape(len(recipes), len(seeds), -1)


def _resamples(measured: Measured, num_passages: int) -> tuple[list[Array], str]:
    """Return the weights of each half's resamples, and the name of both."""
    settings = measured.settings
    number, seed = settings.num_bootstrap, settings.seed
    seeds = np.random.SeedSequence(seed).generate_state(2).tolist()
    sizes = [len(range(half, num_passages, 2)) for half in (0, 1)]
    weights = [bootstrap_weights(n, number, s) for n, s in zip(sizes, seeds, strict=True)]
    return weights, name_of_units(["halves", num_passages], number, seed)
