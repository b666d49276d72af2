"""Which interventions an architecture allows exactly, told from its config alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ke_steps.checkpoints.families import Family
from ke_steps.job.errors import UserError
from ke_steps.settings.interventions import Control, Gauge, RescaleQueries, Resuscitate, Variant

HOMOGENEOUS = frozenset({"relu", "leaky_relu", "linear"})
"""Activations with f(s · z) = s · f(z) for every s > 0, as ``config.json`` calls them."""


def refuse_intervention(
    variant: Variant, family: Family, config: Mapping[str, Any], *, where: str
) -> None:
    """Refuse a variant that a model does not allow exactly, whose config.json is ``config``.

    Raises:
        UserError: with the reason.
    """
    if isinstance(variant, RescaleQueries):
        refuse_query_scaling(family, config, where=where)
    if isinstance(variant, Resuscitate | Gauge | Control):
        refuse_rows(family, variant.rows, where=where)
        base = variant.of if isinstance(variant, Control) else variant.kind
        if variant.rows == "key" and base != "resuscitate":
            _refuse_bent_gauge(family, config, where=where)


def refuse_rows(family: Family, rows: str, *, where: str) -> None:
    """Refuse rows that a model's coefficients are not made of.

    Raises:
        UserError: up rows of an ungated model, or key rows of a gated one.
    """
    if rows == "key" and family.form != "ungated":
        raise UserError(
            f"{where}: {family.model_type} has gated feed-forward layers, whose coefficients"
            " scale exactly with the rows of the up projection: take rows: up; key rows are for"
            " ungated layers, where the scale is not linear"
        )
    if rows == "up" and family.form == "ungated":
        raise UserError(
            f"{where}: {family.model_type} has ungated feed-forward layers, whose coefficients"
            " are not linear in a row of the up projection: rows: up do not apply; rows: key"
            " do, through the activation"
        )


def _refuse_bent_gauge(family: Family, config: Mapping[str, Any], *, where: str) -> None:
    """Refuse key rows whose scale the memory vectors cannot take back."""
    activation = config.get(family.activation)
    if activation not in HOMOGENEOUS:
        raise UserError(
            f"{where}: {family.activation} is {activation or 'not said'}, which bends a scale of"
            " the key rows and their biases, so that no scale of the memory vectors takes it back:"
            " this model has no gauge that leaves the function as it is (ungated layers have one"
            f" with {', '.join(sorted(HOMOGENEOUS))}); leave it out of the variant's scope"
        )


def refuse_query_scaling(family: Family, config: Mapping[str, Any], *, where: str) -> None:
    """Refuse a model whose attention scores are not linear in its query projection.

    Raises:
        UserError: it normalises or clips its queries, or caps its attention scores.
    """
    softcapping = config.get("attn_logit_softcapping", family.default_softcapping)
    if family.normalises_queries:
        reason = "normalises its queries, which undoes any scale of the projection"
    elif config.get("clip_qkv") is not None:
        reason = f"clips its queries at clip_qkv {config['clip_qkv']}"
    elif softcapping is not None:
        reason = f"caps its attention scores at attn_logit_softcapping {softcapping}"
    else:
        return
    raise UserError(
        f"{where}: {family.model_type} {reason}: its attention has no exact temperature in the"
        " weights; leave this model out of the variant's scope, or take the kind temper_attention,"
        " which leaves the weights alone"
    )
