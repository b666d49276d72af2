"""Claims about resuscitation, and whether it does what its name says (FACTS section 5)."""

from __future__ import annotations

from collections.abc import Iterator

from ke_steps._estimates import UNKNOWN, Estimate
from ke_steps._findings import (
    ALL_PROBES,
    ALL_TASKS,
    MODEL,
    UNPAIRED,
    WITH_SEEDS,
    Finding,
    Measured,
    verdict,
)
from ke_steps._quantities import QUANTITIES, difference_unit, show, unit_of
from ke_steps.settings import ORIGINAL


def _variant_changes(
    measured: Measured, quantity: str, group: str, *, sign: int, claim: str, change: str
) -> Iterator[Finding]:
    errors = UNPAIRED if quantity == "entropy_nats" else WITH_SEEDS
    rule = (
        f"Supported if {QUANTITIES[quantity].label} of the variant minus that of the original has"
        f" its interval {'above' if sign > 0 else 'below'} zero at the last stage that has the"
        f" variant; not supported if on the other side. {errors}"
    )
    variants: list[str | None] = [*measured.variants()]
    recipes: list[str | None] = [*measured.recipes()]
    if quantity == "entropy_nats":
        recipes = [None]
    for variant in variants or [None]:
        for recipe in recipes:
            estimate, evidence = UNKNOWN, "No variant was measured."
            if variant is not None:
                estimate, evidence = _change(measured, quantity, group, variant, recipe)
            yield Finding(
                claim,
                f"Resuscitation ({variant or 'no variant in this study'}) {change}.",
                rule,
                evidence,
                verdict([estimate if sign > 0 else -estimate]),
                0 if variant is None else 2,
                unit_of(quantity),
                estimate,
                recipe,
                variant,
            )


def _change(
    measured: Measured, quantity: str, group: str, variant: str, recipe: str | None
) -> tuple[Estimate, str]:
    """Return variant minus original at the variant's last stage, and the evidence in words."""
    unit, label = unit_of(quantity), QUANTITIES[quantity].label
    last = int(measured.summary.loc[measured.summary["variant"] == variant, "step"].max())
    changed = measured.runs(quantity, group, last, variant, recipe)
    original = measured.runs(quantity, group, last, recipe=recipe)
    estimate = measured.difference(quantity, group, (last, variant), (last, ORIGINAL), recipe)
    evidence = (
        f"{label} at step {last:,}: {show(original['value'].mean(), unit)} as it was,"
        f" {show(changed['value'].mean(), unit)} as {variant}: a change of"
        f" {measured.spread(estimate, difference_unit(unit))}."
    )
    return estimate, evidence


def resuscitation_raises_entropy(measured: Measured) -> Iterator[Finding]:
    """Resuscitation raises the entropy of the modified model (never checked in the reference)."""
    yield from _variant_changes(
        measured,
        "entropy_nats",
        MODEL,
        sign=1,
        claim="resuscitation_raises_entropy",
        change="raises the model's entropy",
    )


def resuscitation_improves_acquisition(measured: Measured) -> Iterator[Finding]:
    """Resuscitation improves acquisition (FACTS section 5)."""
    yield from _variant_changes(
        measured,
        "acquisition",
        ALL_PROBES,
        sign=1,
        claim="resuscitation_improves_acquisition",
        change="improves the acquisition of new knowledge",
    )


def resuscitation_lowers_forgetting(measured: Measured) -> Iterator[Finding]:
    """Resuscitation lowers forgetting (FACTS section 5)."""
    yield from _variant_changes(
        measured,
        "forgetting",
        ALL_TASKS,
        sign=-1,
        claim="resuscitation_lowers_forgetting",
        change="lowers forgetting",
    )
