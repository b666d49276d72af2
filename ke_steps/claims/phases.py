"""The phases of one run of pretraining: a plateau, facts being recruited, and after saturation.

Recall, P before learning, tells them apart, and nothing else does: entropy, which they are asked
about, has no part in it. *Saturation* is the first trained checkpoint with 95 % of the last one's
recall; the *plateau* the last one before it whose recall cannot be told from chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from ke_steps.claims.measured import Measured, State
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACCURACY_BEFORE,
    CHANCE,
    CONTRIBUTION_ENTROPY,
    DORMANT,
    ENTROPY,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    Measure,
)

SATURATED = 0.95
"""The share of the last checkpoint's recall at which facts count as learned."""

BEFORE = (ENTROPY, CONTRIBUTION_ENTROPY, DORMANT, ACCURACY_BEFORE)
AFTER = (KNOWLEDGE_AFTER, FORGETTING_ABOVE_CHANCE, ACCURACY_AFTER)
"""Told of every run, before learning and after it."""


class Phases(NamedTuple):
    """The trained checkpoints at which the phases of a run begin and end."""

    first: int
    plateau: int | None
    """None without saturation."""
    saturation: int | None
    last: int
    unsaturated: str
    """Why there is no saturation; empty where there is."""

    @property
    def before(self) -> tuple[int, int] | None:
        """From plateau to saturation; None where these are not two."""
        if self.plateau is None or self.saturation in (None, self.plateau):
            return None
        return self.plateau, self.saturation

    @property
    def after(self) -> tuple[int, int] | None:
        """From saturation to the last checkpoint; None without."""
        return None if self.saturation is None else (self.saturation, self.last)


def phases_of(measured: Measured) -> Phases | None:
    """Return the phases of a run; None with fewer trained checkpoints with recall than a course."""
    recall = measured.by_stage(ACCURACY_BEFORE)
    if len(recall) < measured.settings.min_points:
        return None
    steps = [int(step) for step in recall.index]
    first, last = steps[0], steps[-1]
    if not is_above_chance(measured, last):
        why = "its recall at the end cannot be told from chance"
        return Phases(first, None, None, last, why)
    saturation = next(step for step in steps if recall[step] >= SATURATED * recall[last])
    if saturation == last:
        why = f"its recall has {100 * SATURATED:g} % of that at the end only there"
        return Phases(first, None, None, last, why)
    guessing = [s for s in steps if s < saturation and not is_above_chance(measured, s)]
    return Phases(first, guessing[-1] if guessing else first, saturation, last, "")


def is_above_chance(measured: Measured, step: int) -> bool:
    """Tell whether P before learning has its interval above chance."""
    chance = measured.estimate(CHANCE, State(step)).value
    return measured.estimate(ACCURACY_BEFORE, State(step)).low > chance


def phase_rows(measured: Measured) -> Iterator[dict[str, Any]]:
    """Yield the rows of PHASES of one model: one per quantity, and per recipe after learning."""
    phases = phases_of(measured)
    if phases is None:
        return
    asked: list[tuple[Measure, str | None]] = [(measure, None) for measure in BEFORE]
    asked += [(measure, recipe) for recipe in measured.recipes() for measure in AFTER]
    for measure, recipe in asked:
        values = measured.by_stage(measure, recipe)
        if values.empty:
            continue
        steps = phases._asdict()
        unsaturated = steps.pop("unsaturated")
        highest = int(values.index.to_list()[int(values.argmax())])
        changes = {
            "change_before": _change(measured, measure, recipe, phases.before),
            "change_after": _change(measured, measure, recipe, phases.after),
        }
        yield {
            "model": measured.model,
            "family": measured.settings.families.get(measured.model),
            "recipe": recipe,
            "quantity": measure.quantity,
            "unit": measure.unit,
            **{f"{name}_step": step for name, step in steps.items()},
            "highest_step": highest,
            "unsaturated": unsaturated,
            **{name: values.get(step, math.nan) for name, step in steps.items()},
            "highest": values[highest],
            **{name: change.value for name, change in changes.items()},
            **{f"{name}_low": change.low for name, change in changes.items()},
            **{f"{name}_high": change.high for name, change in changes.items()},
        }


def _change(
    measured: Measured, measure: Measure, recipe: str | None, ends: tuple[int, int] | None
) -> Estimate:
    """Return the change between two checkpoints with the run's own paired interval."""
    if ends is None:
        return UNKNOWN
    begin, end = ends
    if measure == DORMANT:  # of which no replicates are kept
        values = measured.by_stage(measure)
        return UNKNOWN._replace(value=values.get(end, math.nan) - values.get(begin, math.nan))
    return measured.difference(measure, State(end), State(begin), recipe)
