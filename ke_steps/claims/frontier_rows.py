"""The table of frontiers: a row per point, with what its whole frontier comes to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ke_steps.claims.best_rates import best_of
from ke_steps.claims.frontiers import Frontiers, frontiers_of
from ke_steps.claims.measured import Measured, State
from ke_steps.formulas.uncertainty import Estimate
from ke_steps.summary.quantities import ACCURACY_AFTER, KNOWLEDGE_AFTER


def frontier_rows(measured: Measured) -> Iterator[dict[str, Any]]:
    """Yield the rows of FRONTIERS of one model."""
    for found in frontiers_of(measured):
        best = best_of(found)
        for state, frontier in found.states.items():
            whole = _whole(found, state)
            for recipe in frontier.recipes:
                yield {
                    "model": measured.model,
                    **state._asdict(),
                    "frontier": found.name,
                    "recipe": recipe,
                    "learning_rate": found.rates[recipe],
                    **_ends(measured.estimate(ACCURACY_AFTER, state, recipe), "accuracy_after"),
                    **_ends(
                        measured.estimate(KNOWLEDGE_AFTER, state, recipe), "knowledge_after", "nats"
                    ),
                    "num_halves_best": best[state].recipes.count(recipe) if state in best else None,
                    "num_seeds": len(frontier.points),
                    **whole,
                }


def _whole(found: Frontiers, state: State) -> dict[str, Any]:
    row: dict[str, Any] = _ends(found.area(state), "area", "nats")
    reference = found.compared_with(state)
    if reference is None:
        return row
    lead = found.lead(state, reference)
    matched = dict(zip(("matched_from", "matched_to"), lead.matched, strict=True))
    return row | {
        "reference_step": reference.step,
        "reference_variant": reference.variant,
        **matched,
        **_ends(lead.knowledge, "lead", "nats"),
        **_ends(lead.area, "area_lead", "nats"),
    }


def _ends(estimate: Estimate, name: str, unit: str = "") -> dict[str, float]:
    columns = (f"{name}_{unit}" if unit else name, f"{name}_low", f"{name}_high")
    return dict(zip(columns, estimate[:3], strict=True))
