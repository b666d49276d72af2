"""Gauge × function: what each part of an intervention does to learning, and what controls do.

The original O, the gauge S, the function V and resuscitation R with the same multipliers are a
2 × 2: R is S after V. Whatever is compared is paired on passages, items and seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ke_steps.claims.changes import mean_over_runs
from ke_steps.claims.findings import NOT_SUPPORTED, SUPPORTED, Decision, Part, decide
from ke_steps.claims.measured import Measured, Recipes, State
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate, SeedSpread, contrast
from ke_steps.settings.interventions import PARTS, Control, Multipliers
from ke_steps.settings.telling import SummarizeJob
from ke_steps.summary.quantities import Measure

Numbers = tuple[float, float, float | None]
"""Quantile, boost and max_multiplier: what the multipliers of Algorithm 1 follow from."""


class Arms(NamedTuple):
    """One checkpoint under the interventions with the same multipliers."""

    numbers: Numbers
    step: int
    kinds: dict[str, State]
    """Those that are no controls."""
    controls: dict[tuple[str, str], list[State]]
    """By the kind that they are controls of, and their own: every draw."""

    @property
    def said(self) -> str:
        """The numbers in words."""
        quantile, boost, cap = self.numbers
        limit = f", max_multiplier {cap:g}" if cap else ""
        return f"quantile {quantile:g}, boost {boost:g}{limit}"

    def states(self) -> list[State]:
        """Return all that was done to the checkpoint."""
        return [*self.kinds.values(), *itertools.chain(*self.controls.values())]

    def two_by_two(self) -> dict[str, dict[State, float]]:
        """Return the coefficients of function, gauge and interaction; none where an arm lacks."""
        if not self.kinds.keys() >= set(PARTS):
            return {}
        original, (s, v, r) = State(self.step), (self.kinds[kind] for kind in PARTS)
        return {
            "function": {v: 0.5, original: -0.5, r: 0.5, s: -0.5},
            "gauge": {s: 0.5, original: -0.5, r: 0.5, v: -0.5},
            "interaction": {r: 1.0, s: -1.0, v: -1.0, original: 1.0},
        }


class Versus(NamedTuple):
    """An arm less its draws."""

    mean: Estimate
    """Less their mean, the arm taken for one more draw: no interval with one draw."""
    each: list[Estimate]
    """Less each of them."""


def arms_of(measured: Measured) -> list[Arms]:
    """Return the arms of every trained checkpoint, those with the same numbers together."""
    found: dict[tuple[Numbers, int], Arms] = {}
    trained = measured.states[measured.states["is_trained"]]
    places = trained[["step", "variant"]].drop_duplicates()
    for state in map(State._make, places.itertuples(index=False, name=None)):
        variant = measured.settings.variants.get(state.variant)
        if not isinstance(variant, Multipliers):
            continue
        numbers = (variant.quantile, variant.boost, variant.max_multiplier)
        arms = found.setdefault((numbers, state.step), Arms(numbers, state.step, {}, {}))
        if isinstance(variant, Control):
            arms.controls.setdefault((variant.of, variant.kind), []).append(state)
        else:
            arms.kinds.setdefault(variant.kind, state)
    order = list(dict.fromkeys(numbers for numbers, _ in found))
    return sorted(found.values(), key=lambda arms: (order.index(arms.numbers), arms.step))


def recipe_groups(measured: Measured, *, compensated: bool = False) -> dict[str, tuple[str, ...]]:
    """Return the recipes that differ in learning rate alone, ascending, by the first's name.

    A recipe that has no other is one by itself. One learning rate decides nothing, so that claims
    rest on the mean over those of a group.

    Args:
        measured: the model.
        compensated: the recipes that undo what a gauge changes of learning; else the others.
    """
    undoing = measured.settings.compensated
    learned = [each for each in measured.recipes() if (each in undoing) == compensated]
    frontiers = measured.settings.frontiers
    groups = {
        name: tuple(recipe for recipe in rates if recipe in learned)
        for name, rates in frontiers.items()
    }
    grouped = {recipe for rates in frontiers.values() for recipe in rates}
    alone = {recipe: (recipe,) for recipe in learned if recipe not in grouped}
    return {name: recipes for name, recipes in {**groups, **alone}.items() if recipes}


def experiments(measured: Measured) -> Iterator[tuple[list[Arms], str, tuple[str, ...]]]:
    """Yield the stages of each set of multipliers, and a group of recipes by which some learned.

    Resuscitation alone is no experiment of what it does.
    """
    for _, found in itertools.groupby(arms_of(measured), key=lambda arms: arms.numbers):
        stages = list(found)
        if not any(arms.controls or arms.kinds.keys() - {"resuscitate"} for arms in stages):
            continue
        for group, recipes in recipe_groups(measured).items():
            learned = [arms for arms in stages if that_learned(measured, arms.states(), recipes)]
            if learned:
                yield learned, group, recipes


def shared_recipes(
    measured: Measured, states: Iterable[State], recipes: Sequence[str]
) -> tuple[str, ...]:
    """Return the recipes by which all of some states learned."""
    wanted = set(states)
    return tuple(each for each in recipes if wanted <= _learned(measured, [each]))


def that_learned(
    measured: Measured, states: Sequence[State], recipes: Sequence[str]
) -> list[State]:
    """Return the states that learned by some of these recipes."""
    learned = _learned(measured, recipes)
    return [state for state in states if state in learned]


def over_rates(recipes: Sequence[str]) -> str:
    """Return words for the recipes of which an effect is the mean; none for one."""
    return f", the mean over {len(recipes)} learning rates" if len(recipes) > 1 else ""


def _learned(measured: Measured, recipes: Sequence[str]) -> set[State]:
    rows = measured.states[measured.states["recipe"].isin(recipes)]
    pairs = rows[["step", "variant"]].itertuples(index=False, name=None)
    return set(map(State._make, pairs))


def versus(
    measured: Measured,
    arm: State,
    draws: Sequence[State],
    measure: Measure,
    recipes: tuple[str, ...],
) -> Versus:
    """Compare an arm with draws of a control, the mean over recipes.

    Were the arm but one more draw, its difference from the mean of D others would have the variance
    s² (1 + 1/D), with s² that between the draws, noise of training included, on D - 1 degrees of
    freedom. So an arm whose interval leaves zero out is beyond what draws do to each other.
    """
    each = [measured.difference(measure, arm, draw, recipes) for draw in draws]
    share = dict.fromkeys(draws, -1 / len(draws))
    found = measured.sampled({arm: 1.0, **share}, measure, recipes)
    if found is None:
        return Versus(UNKNOWN, each)
    if len(draws) < 2:
        return Versus(UNKNOWN._replace(value=found.value), each)
    between = float(np.var([difference.value for difference in each], ddof=1))
    spread = SeedSpread(between * (1 + 1 / len(draws)), len(draws) - 1)
    return Versus(contrast([1.0], [[found]], spread, measured.settings.confidence), each)


def mean_difference(
    runs: Sequence[tuple[Measured, Mapping[State, float]]], measure: Measure, recipes: Recipes
) -> Estimate:
    """Return Σ c_s y_s of one run of pretraining, or the mean over several.

    Of several the interval has the spread between them; unknown where one of them lacks a state.
    """
    if len(runs) == 1:
        ((measured, coefficients),) = runs
        return measured.contrast(coefficients, measure, recipes)
    samples = [run.sampled(coefficients, measure, recipes) for run, coefficients in runs]
    known = [sample for sample in samples if sample]
    if len(known) < len(runs):
        return UNKNOWN
    return mean_over_runs([known], runs[0][0].settings.confidence)


CHANGES = (
    "Not supported if that on A* is of no interest, within ± {margin} with its whole interval; else"
    " supported if that on K after has its interval on one side of zero."
)


def changes_learning(knowledge: Estimate, share: Estimate, settings: SummarizeJob) -> Decision:
    """Decide whether an effect on K after, and on A*, is a change of learning."""
    nothing = is_negligible(share, settings)
    if nothing.verdict == SUPPORTED:
        return nothing._replace(verdict=NOT_SUPPORTED)
    return is_other_than_zero(knowledge, settings)


def is_negligible(share: Estimate, settings: SummarizeJob) -> Decision:
    """Decide whether an effect on A* is within the margin that is of no interest."""
    margin = settings.non_inferiority_margin
    return decide([Part(share, -margin), Part(-share, -margin)], settings.confidence)


def is_other_than_zero(estimate: Estimate, settings: SummarizeJob) -> Decision:
    """Decide whether an estimate is other than zero, on either side."""
    return decide([Part(-estimate if estimate.value < 0 else estimate)], settings.confidence)
