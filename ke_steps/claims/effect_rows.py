"""The table of effects: the 2 × 2 of gauge and function, arms against controls, entropy alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ke_steps.artefacts.summary_schemas import ENTROPY_ALONE
from ke_steps.claims.effects import (
    Arms,
    arms_of,
    recipe_groups,
    shared_recipes,
    that_learned,
    versus,
)
from ke_steps.claims.entropy_alone import alone
from ke_steps.claims.measured import Measured, State
from ke_steps.formulas.uncertainty import Estimate
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION_FROM_ORIGINAL,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    Measure,
    difference_unit,
)

BETTER = {
    KNOWLEDGE_AFTER: 1,
    ACCURACY_AFTER: 1,
    ACQUISITION_FROM_ORIGINAL: 1,
    FORGETTING_ABOVE_CHANCE: -1,
}
"""The outcomes of which effects are told, and which sign of a difference is the better one."""


class _Place(NamedTuple):
    """Where an effect is measured."""

    measured: Measured
    step: int
    frontier: str | None
    """The first of recipes that differ in learning rate alone, of which these are some or all."""
    recipes: tuple[str, ...]
    """Of which the effect is the mean."""
    is_mean: bool = False

    def row(
        self, effect: str, variant: str, measure: Measure, states: Sequence[State], found: Estimate
    ) -> dict[str, Any]:
        """Return a row of EFFECTS without what it says of draws."""
        values = self.measured.values(measure, self.recipes)
        return {
            "model": self.measured.model,
            "step": self.step,
            "frontier": self.frontier,
            "recipe": None if self.is_mean else self.recipes[0],
            "effect": effect,
            "variant": variant,
            **measure._asdict(),
            "unit": difference_unit(measure.unit),
            **dict(zip(("value", "low", "high"), found[:3], strict=True)),
            "num_recipes": len(self.recipes),
            "num_seeds": len(self.measured.common_seeds(values, states)),
        }


def effect_rows(measured: Measured) -> Iterator[dict[str, Any]]:
    """Yield the rows of EFFECTS of one model: by recipe, and the mean over a group of them."""
    for arms in arms_of(measured):
        for group, recipes in recipe_groups(measured).items():
            frontier = group if len(recipes) > 1 else None
            for recipe in recipes:
                yield from _rows(_Place(measured, arms.step, frontier, (recipe,)), arms)
            if frontier:
                place = _Place(measured, arms.step, frontier, recipes, is_mean=True)
                yield from _rows(place, arms)
    yield from _of_entropy_alone(measured)


def _of_entropy_alone(measured: Measured) -> Iterator[dict[str, Any]]:
    for found in alone(measured):
        place = _Place(measured, found.gauge.step, found.group, found.recipes, is_mean=True)
        if len(found.recipes) == 1:
            place = place._replace(frontier=None, is_mean=False)
        for measure in _asked(place):
            estimate = measured.contrast(found.coefficients(), measure, found.recipes)
            states = list(found.coefficients())
            yield place.row(ENTROPY_ALONE, found.gauge.variant, measure, states, estimate)


def _rows(place: _Place, arms: Arms) -> Iterator[dict[str, Any]]:
    for effect, coefficients in arms.two_by_two().items():
        variant = arms.kinds["resuscitate"].variant
        shared = _limited(place, list(coefficients))
        for measure in _asked(shared):
            found = place.measured.contrast(coefficients, measure, shared.recipes)
            yield shared.row(effect, variant, measure, list(coefficients), found)
    for (kind, control), every in arms.controls.items():
        draws = that_learned(place.measured, every, place.recipes)
        if kind in arms.kinds and draws:
            yield from _against(place, arms.kinds[kind], control, draws)


def _against(
    place: _Place, arm: State, control: str, draws: list[State]
) -> Iterator[dict[str, Any]]:
    shared = _limited(place, [arm, *draws])
    for measure in _asked(shared):
        found = versus(shared.measured, arm, draws, measure, shared.recipes)
        signed = [each if BETTER[measure] > 0 else -each for each in found.each]
        # top is no draw: there is but one
        estimate = found.each[0] if control == "top" else found.mean
        yield {
            **shared.row(control, arm.variant, measure, [arm, *draws], estimate),
            "num_draws": len(draws),
            "num_beaten": sum(each.low > 0 for each in signed),
        }


def _limited(place: _Place, states: Sequence[State]) -> _Place:
    """Return the place with the recipes by which all of some states learned."""
    return place._replace(recipes=shared_recipes(place.measured, states, place.recipes))


def _asked(place: _Place) -> list[Measure]:
    """Return the outcomes that were measured by all of a place's recipes."""
    if not place.recipes:
        return []
    return [each for each in BETTER if not place.measured.values(each, place.recipes).empty]
