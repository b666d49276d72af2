"""Sweeps of an intervention: variants that differ in one number alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from ke_steps.settings.interventions import (
    RescaleQueries,
    Resuscitate,
    TemperAttention,
    Variant,
)

SweptName = Literal["boost", "quantile"]


class Sweep(NamedTuple):
    """Variants by the number in which they differ, and what they share, in words."""

    shared: str
    values: dict[str, float]


def sweeps(variants: Mapping[str, Variant], swept: SweptName) -> list[Sweep]:
    """Return the resuscitations that are alike but for ``swept``, where it takes two values."""
    found: dict[str, dict[str, float]] = {}
    for name, variant in variants.items():
        if isinstance(variant, Resuscitate):
            found.setdefault(_shared(variant, swept), {})[name] = getattr(variant, swept)
    return [Sweep(*item) for item in found.items() if len(set(item[1].values())) > 1]


def _shared(variant: Resuscitate, swept: SweptName) -> str:
    words = (
        f"p = {100 * variant.quantile:.3g} %" if swept == "boost" else f"q = {variant.boost:.3g}"
    )
    if variant.max_multiplier is not None:
        words += f", at most × {variant.max_multiplier:g}"
    return words + (", key rows" if variant.rows == "key" else "")


def temperatures(variants: Mapping[str, Variant]) -> list[Sweep]:
    """Return the variants that give attention a temperature, by the way in which they do."""
    found: dict[str, dict[str, float]] = {}
    for name, variant in variants.items():
        if isinstance(variant, TemperAttention):
            way = "constant" if variant.course == "constant" else "decaying to 1 over learning"
            found.setdefault(way, {})[name] = variant.temperature
        elif isinstance(variant, RescaleQueries):
            found.setdefault("query weights rescaled", {})[name] = variant.temperature
    return [Sweep(*item) for item in found.items()]


def tempered(variants: Mapping[str, Variant]) -> list[str]:
    """Return the variants that give attention a temperature."""
    return [name for sweep in temperatures(variants) for name in sweep.values]


def resuscitations(variants: Mapping[str, Variant]) -> list[str]:
    """Return the variants that wake memories."""
    return [name for name, variant in variants.items() if isinstance(variant, Resuscitate)]
