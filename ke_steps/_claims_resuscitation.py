"""Claims about resuscitation, and whether it does what its name says (FACTS section 5).

A and F compare a model with itself before learning. An intervention that first damages the model
leaves it more to regain and less to forget, so that both improve: a claim about either also looks
at where the variant *ends*, K or P after learning.
"""

from __future__ import annotations

import itertools
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

Place = tuple[int, str]
"""A checkpoint's step and a variant."""

CONTESTS = {
    "acquisition": (1, ALL_PROBES, "performance_after", "improves acquisition"),
    "forgetting": (-1, ALL_TASKS, "accuracy_after", "lowers forgetting"),
}
"""Which sign is good, the group, what must not end worse, and the words for it."""


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
    is_before_learning = quantity == "entropy_nats"
    rule = (
        f"Supported if {QUANTITIES[quantity].label} of the variant minus that of the original has"
        f" its interval {'above' if sign > 0 else 'below'} zero at the last stage that has the"
        f" variant; not supported if on the other side{_end_rule(end)}."
        f" {UNPAIRED if is_before_learning else WITH_SEEDS}"
    )
    variants: list[str | None] = [*measured.variants("resuscitate")]
    recipes: list[str | None] = [None] if is_before_learning else [*measured.recipes()]
    for variant, recipe in itertools.product(variants or [None], recipes):
        estimate, evidence = UNKNOWN, "No variant was measured."
        decided = verdict([])
        if variant is not None:
            steps = measured.steps_of(variant, recipe)
            if not steps:  # the recipe is limited to other variants
                continue
            places = ((steps[-1], variant), (steps[-1], ORIGINAL))
            estimate, evidence = _change(measured, quantity, group, places, recipe)
            decided = verdict([estimate if sign > 0 else -estimate])
            if end is not None:
                ending, more_evidence = _change(measured, end, group, places, recipe)
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
    measured: Measured,
    quantity: str,
    group: str,
    places: tuple[Place, Place],
    recipe: str | None,
) -> tuple[Estimate, str]:
    """Return the first place (step, variant) minus the second, and the evidence in words.

    Both are of one step.
    """
    unit, label = unit_of(quantity), QUANTITIES[quantity].label
    (step, variant), (_, other) = places
    changed, reference = (measured.runs(quantity, group, *place, recipe) for place in places)
    estimate = measured.difference(quantity, group, *places, recipe)
    evidence = (
        f"{label} at step {step:,}: {show(reference['value'].mean(), unit)}"
        f" {'as it was' if other == ORIGINAL else f'as {other}'},"
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


def resuscitation_beats_temperature(measured: Measured) -> Iterator[Finding]:
    """Waking memories does more than broadening attention (FACTS section 5)."""
    for recipe in measured.recipes():
        woken, tempered = (
            {name: set(measured.steps_of(name, recipe)) for name in measured.variants(kind)}
            for kind in ("resuscitate", "temper_attention")
        )
        shared = set().union(*woken.values()) & set().union(*tempered.values())
        if shared:
            last = max(shared)
            rivals = [
                [name for name, steps in names.items() if last in steps]
                for names in (woken, tempered)
            ]
            yield _contest(measured, "acquisition", rivals, last, recipe)
            yield _contest(measured, "forgetting", rivals, last, recipe)


def _contest(
    measured: Measured, quantity: str, rivals: list[list[str]], step: int, recipe: str
) -> Finding:
    """Compare the best variant of each kind at one checkpoint."""
    sign, group, end, change = CONTESTS[quantity]
    best = [
        max(
            names,
            key=lambda name: (
                sign * measured.runs(quantity, group, step, name, recipe)["value"].mean()
            ),
        )
        for names in rivals
    ]
    places = ((step, best[0]), (step, best[1]))
    estimate, evidence = _change(measured, quantity, group, places, recipe)
    ending, more_evidence = _change(measured, end, group, places, recipe)
    decided = verdict([estimate if sign > 0 else -estimate])
    return Finding(
        f"resuscitation_{change.split()[0]}_{quantity}_more_than_temperature",
        f"Resuscitation {change} more than an attention temperature does.",
        f"Supported if {QUANTITIES[quantity].label} of the best resuscitation minus that of the"
        f" best temperature has its interval {'above' if sign > 0 else 'below'} zero at the last"
        f" stage that has both; not supported if on the other side{_end_rule(end)}. Each best is"
        f" chosen after looking. {WITH_SEEDS}",
        f"{evidence} {more_evidence}",
        NOT_SUPPORTED if ending.high < 0 else decided,
        len(rivals[0]) + len(rivals[1]),
        unit_of(quantity),
        estimate,
        recipe,
        best[0],
    )
