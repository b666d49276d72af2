"""What an intervention gains downstream: the change of P after learning against the original."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ke_steps.claims.measured import Measured, State
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.estimates import interval_kind
from ke_steps.summary.quantities import ACCURACY_AFTER, QUANTITIES


def downstream(measured: Measured) -> Iterator[dict[str, Any]]:
    """Yield the rows of DOWNSTREAM of one model: every variant that learned as its original did.

    The change is over the seeds that both have, and paired on items and seeds. The relative change
    is the same over the original's P after learning of these seeds, which counts as exact.
    """
    for recipe in measured.recipes():
        values = measured.values(ACCURACY_AFTER, recipe)
        for step, variant in values.index:
            changed, reference = State(step, variant), State(step)
            seeds = measured.common_seeds(values, [changed, reference])
            if variant != ORIGINAL and seeds:
                change = measured.difference(ACCURACY_AFTER, changed, reference, recipe)
                original = float(values.loc[[reference], seeds].to_numpy().mean())
                kind = interval_kind(
                    QUANTITIES[ACCURACY_AFTER.quantity].units,
                    is_seeded=len(seeds) > 1,
                )
                yield {
                    "model": measured.model,
                    "recipe": recipe,
                    "step": step,
                    "variant": variant,
                    **dict(zip(("change", "change_low", "change_high"), change[:3], strict=True)),
                    **{
                        name: end / original
                        for name, end in zip(
                            ("relative", "relative_low", "relative_high"), change[:3], strict=True
                        )
                    },
                    "interval_kind": f"{kind}, paired",
                    "num_seeds": len(seeds),
                    "num_items": measured.num_items(ACCURACY_AFTER, recipe),
                }
