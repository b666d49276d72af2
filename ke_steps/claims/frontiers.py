"""The frontiers of one model: new knowledge against old over learning rates, by stage and variant.

Every frontier is of one state and one seed (``formulas.frontiers``), resample by resample: passages
move all K alike, items all P. What is told is the mean over the seeds that have all rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ke_steps.artefacts.places import Identity
from ke_steps.claims.measured import Measured, State
from ke_steps.formulas.frontiers import dominated_area, mean_between, overlap
from ke_steps.formulas.uncertainty import (
    UNKNOWN,
    Estimate,
    Sampled,
    contrast,
    spread_beside_seeds,
    spread_within_states,
)
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.telling import MIN_LEARNING_RATES
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    CHANCE,
    KNOWLEDGE_AFTER,
    KNOWLEDGE_BEFORE,
    Measure,
)

Array = NDArray[np.float64]


class Points(NamedTuple):
    """P and K after learning of one state and seed, by learning rate in ascending order.

    Each (1 + num_bootstrap, rates): as measured, then resampled.
    """

    accuracy: Array
    knowledge: Array
    units: str
    """What names the passages and items: two with the same are paired."""
    unresolved: float
    """Half the interval of P where no resample differs from another."""


class Frontier(NamedTuple):
    """What one state learns by the recipes that it learned with, in ascending order of rates."""

    recipes: list[str]
    points: dict[int, Points]
    """By seed, of those that have all of the rates."""

    @property
    def is_whole(self) -> bool:
        """Whether it has enough rates, and a seed that has them all."""
        return len(self.recipes) >= MIN_LEARNING_RATES and bool(self.points)


class Lead(NamedTuple):
    """How much further one frontier lies than another."""

    matched: tuple[float, float]
    """The range of P that both reach, mean over seeds; NaN where some seed has none."""
    knowledge: Estimate
    """In the mean over that range, in nats; unknown where there is none."""
    area: Estimate


class Frontiers(NamedTuple):
    """The frontiers of one model and of recipes that differ in learning rate alone."""

    measured: Measured
    name: str
    rates: Mapping[str, float]
    """By recipe, ascending."""
    states: dict[State, Frontier]
    areas: dict[State, dict[int, Sampled]]
    """By seed, of the frontiers that are whole."""
    reference: tuple[float, float]
    """P and K of the point that areas begin at; NaN without a whole frontier."""

    def stages(self) -> list[int]:
        """Return the steps of the pretraining stages with a whole frontier, ascending."""
        trained = self.measured.stages()
        return [step for step in trained if State(step) in self.areas]

    def middle(self) -> int | None:
        """Return the stage in the middle, the earlier of two; None with fewer than two."""
        stages = self.stages()
        return stages[(len(stages) - 1) // 2] if len(stages) > 1 else None

    def compared_with(self, state: State) -> State | None:
        """Return a state's reference: a variant's is its original, a later stage's the middle.

        None where one of the two has no whole frontier.
        """
        middle = self.middle()
        reference = None
        if state.variant != ORIGINAL:
            reference = State(state.step)
        elif middle is not None and state.step > middle:
            reference = State(middle)
        return reference if {state, reference} <= self.areas.keys() else None

    def area(self, state: State) -> Estimate:
        """Return the dominated area of a state; unknown without a whole frontier."""
        if state not in self.areas:
            return UNKNOWN
        samples = list(self.areas[state].values())
        spread = spread_within_states(values_of(self.areas))
        area = contrast([1.0], [samples], spread, self.measured.settings.confidence)
        return area._replace(low=np.maximum(area.low, 0.0))

    def lead(self, state: State, reference: State) -> Lead:
        """Return how much further a state's frontier lies than another's, paired."""
        nothing = Lead((math.nan, math.nan), UNKNOWN, UNKNOWN)
        if not {state, reference} <= self.areas.keys():
            return nothing
        seeds = [seed for seed in self.areas[state] if seed in self.areas[reference]]
        if not seeds:
            return nothing
        area = paired(self.measured, self.areas, state, reference, seeds)
        ranges, samples = [], []
        for seed in seeds:
            left, right = (self.states[each].points[seed] for each in (state, reference))
            low, high = overlap(left.accuracy, right.accuracy)
            higher, lower = (
                mean_between(each.accuracy, each.knowledge, low, high) for each in (left, right)
            )
            ranges.append((low[0], high[0]))
            samples.append(_sampled(higher - lower, left.units))
        matched_from, matched_to = np.mean(ranges, axis=0).tolist()
        if math.isnan(matched_from):
            return Lead((math.nan, math.nan), UNKNOWN, area)
        spread = spread_within_states(pd.DataFrame([[sample.value for sample in samples]]))
        knowledge = contrast([1.0], [samples], spread, self.measured.settings.confidence)
        return Lead((matched_from, matched_to), knowledge, area)


def paired(
    measured: Measured,
    found: Mapping[State, Mapping[int, Sampled]],
    state: State,
    reference: State,
    seeds: list[int],
) -> Estimate:
    """Return a state less a reference, the mean over seeds.

    ``found`` has all states, by seed: the spread between seeds is pooled over them.
    """
    samples = [[found[each][seed] for seed in seeds] for each in (state, reference)]
    spread = spread_beside_seeds(values_of(found))
    return contrast([1.0, -1.0], samples, spread, measured.settings.confidence)


def values_of(found: Mapping[State, Mapping[int, Sampled]]) -> pd.DataFrame:
    """Return values (states, seeds), NaN where a state has none of a seed."""
    seeds = sorted({seed for samples in found.values() for seed in samples})
    values = [
        [samples[seed].value if seed in samples else math.nan for seed in seeds]
        for samples in found.values()
    ]
    return pd.DataFrame(values, columns=seeds, dtype=float)


def frontiers_of(measured: Measured) -> list[Frontiers]:
    """Return the frontiers of a model, those of each group of recipes together.

    Raises:
        UserError: two runs were asked other passages or items, so that nothing pairs them.
    """
    return [
        _frontiers(measured, name, rates) for name, rates in measured.settings.frontiers.items()
    ]


def _frontiers(measured: Measured, name: str, rates: Mapping[str, float]) -> Frontiers:
    learned = measured.states[measured.states["recipe"].isin(rates) & measured.states["is_trained"]]
    pairs = learned[["step", "variant"]].drop_duplicates().itertuples(index=False, name=None)
    states = {state: _frontier(measured, state, rates) for state in map(State._make, pairs)}
    whole = {state: each for state, each in states.items() if each.is_whole}
    trained = [step for step in measured.stages() if State(step) in whole]
    if not trained:
        return Frontiers(measured, name, rates, states, {}, (math.nan, math.nan))
    last = State(trained[-1])
    seed = next(iter(whole[last].points))
    chance = _drawn(_sample(measured, CHANCE, last))
    floor = _drawn(_sample(measured, KNOWLEDGE_BEFORE, last, whole[last].recipes[0], seed))
    areas = {
        state: {seed: _area(points, chance, floor) for seed, points in each.points.items()}
        for state, each in whole.items()
    }
    return Frontiers(measured, name, rates, states, areas, (float(chance[0]), float(floor[0])))


def _area(points: Points, chance: Array, floor: Array) -> Sampled:
    number = len(points.accuracy)
    area = dominated_area(points.accuracy, points.knowledge, chance[:number], floor[:number])
    return _sampled(area, points.units)


def _sampled(drawn: Array, units: str) -> Sampled:
    return Sampled(float(drawn[0]), drawn[1:], 0.0, units)


def _frontier(measured: Measured, state: State, rates: Mapping[str, float]) -> Frontier:
    counted = {recipe: _seeds(measured, state, recipe) for recipe in rates}
    recipes = [recipe for recipe, seeds in counted.items() if seeds]
    shared = set.intersection(*(counted[recipe] for recipe in recipes)) if recipes else set()
    points = {seed: _points(measured, state, recipes, seed) for seed in sorted(shared)}
    return Frontier(recipes, points)


def _seeds(measured: Measured, state: State, recipe: str) -> set[int]:
    """Return the seeds of which both P and K after learning are known."""
    accuracy, knowledge = (
        measured.common_seeds(measured.values(measure, recipe), [state])
        for measure in (ACCURACY_AFTER, KNOWLEDGE_AFTER)
    )
    return set(accuracy) & set(knowledge)


def _points(measured: Measured, state: State, recipes: list[str], seed: int) -> Points:
    accuracy, knowledge = (
        [_sample(measured, measure, state, recipe, seed) for recipe in recipes]
        for measure in (ACCURACY_AFTER, KNOWLEDGE_AFTER)
    )
    units = [{each.units for each in part} for part in (accuracy, knowledge)]
    if max(map(len, units)) > 1:
        raise UserError(
            f"{measured.model}: recipes {', '.join(recipes)} were asked other passages or items at"
            f" step {state.step}, {state.variant}; make them again"
        )
    # two bootstraps may have other numbers of resamples, none of which pairs passages with items
    number = 1 + min(len(each.replicates) for each in accuracy + knowledge)
    old, new = (
        np.stack([_drawn(each)[:number] for each in part], axis=1) for part in (accuracy, knowledge)
    )
    unresolved = max(each.unresolved for each in accuracy)
    return Points(old, new, " ".join(sorted(set.union(*units))), unresolved)


def _sample(
    measured: Measured,
    measure: Measure,
    state: State,
    recipe: str | None = None,
    seed: int | None = None,
) -> Sampled:
    run = Identity(measured.model, *state, recipe, seed)
    found = measured.replicates.of(measure, run)
    if found is None:
        raise UserError(f"--replicates: no file has {measure.label} of {run}")
    return found


def _drawn(sample: Sampled) -> Array:
    """Return a value with its replicates behind it (1 + num_bootstrap,)."""
    return np.concatenate([[sample.value], sample.replicates])
