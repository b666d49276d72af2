"""Claims about resuscitation, and whether it does what its name says (FACTS section 5).

A and F compare a model with itself before learning. An intervention that first damages the model
leaves it more to regain and less to forget, so that both improve: a claim about either also looks
at where the variant *ends*, K or P after learning.
"""

from __future__ import annotations

from collections.abc import Iterator

from ke_steps._estimates import UNKNOWN, Estimate
from ke_steps._findings import (
    ALL_PROBES,
    ALL_TASKS,
    MODEL,
    NOT_SUPPORTED,
    UNPAIRED,
    WITH_SEEDS,
    Finding,
    Measured,
    verdict,
)
from ke_steps._quantities import QUANTITIES, difference_unit, show, unit_of
from ke_steps.settings import ORIGINAL


def _variant_changes(
    measured: Measured,
    quantity: str,
    group: str,
    *,
    sign: int,
    claim: str,
    change: str,
    end: str | None = None,
) -> Iterator[Finding]:
    """Yield a finding per variant and recipe; ``end`` is what must not be worse after learning."""
    errors = UNPAIRED if quantity == "entropy_nats" else WITH_SEEDS
    rule = (
        f"Supported if {QUANTITIES[quantity].label} of the variant minus that of the original has"
        f" its interval {'above' if sign > 0 else 'below'} zero at the last stage that has the"
        f" variant; not supported if on the other side{_end_rule(end)}. {errors}"
    )
    variants: list[str | None] = [*measured.variants()]
    recipes: list[str | None] = [*measured.recipes()]
    if quantity == "entropy_nats":
        recipes = [None]
    for variant in variants or [None]:
        for recipe in recipes:
            estimate, evidence = UNKNOWN, "No variant was measured."
            decided = verdict([])
            if variant is not None:
                estimate, evidence = _change(measured, quantity, group, variant, recipe)
                decided = verdict([estimate if sign > 0 else -estimate])
                if end is not None:
                    ending, more_evidence = _change(measured, end, group, variant, recipe)
                    evidence = f"{evidence} {more_evidence}"
                    decided = NOT_SUPPORTED if ending.high < 0 else decided
            yield Finding(
                claim,
                f"Resuscitation ({variant or 'no variant in this study'}) {change}.",
                rule,
                evidence,
                decided,
                0 if variant is None else 2,
                unit_of(quantity),
                estimate,
                recipe,
                variant,
            )


def _end_rule(end: str | None) -> str:
    if end is None:
        return ""
    return (
        f", or if {QUANTITIES[end].label} is lower with its interval below zero, because a model"
        " that was damaged first has more to regain and less to forget"
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
        end="performance_after",
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
        end="accuracy_after",
    )
