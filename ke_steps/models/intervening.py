"""Interventions put into a model: factors on the rows of some projections, settings of its forward.

The scale of the query projections is an inverse temperature of the attention. Attention scores
are q · k / √head_dim; where nothing but rotations and linear maps lies between the projection and
the scores, a factor on the projection's rows and biases is a factor on the scores, exactly. Where
not, the forward pass still has a temperature (``models.temperature``).
"""

from __future__ import annotations

from operator import attrgetter

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ke_steps.artefacts.interventions import Intervention
from ke_steps.checkpoints.families import find_family, refuse_query_scaling
from ke_steps.job.errors import UserError
from ke_steps.models.feed_forward import feed_forward
from ke_steps.models.temperature import set_temperature


def intervene(model: PreTrainedModel, intervention: Intervention, *, where: str) -> None:
    """Scale rows of a model's parameters, or set the temperature of its attention, in place.

    ``up_rows`` scale the coefficients of a gated model by the same factors, for the same input.
    ``key_rows`` do not: in an ungated model c = act(k · x + b), so that the activation bends the
    factor on k and b.

    Raises:
        UserError: the values are not for such a model.
    """
    target, values = intervention
    layers = feed_forward(model)
    shapes = {"query_rows": (), "attention_temperature": (2,)}
    expected = shapes.get(target, (layers.num_layers, layers.num_memories))
    if values.shape != expected:
        raise UserError(f"{where}: {target} is {values.shape}, expected {expected}")
    if target == "query_rows":
        _scale_queries(model, float(values), where=where)
        return
    if target == "attention_temperature":
        set_temperature(model, float(values[0]))
        return
    if layers.is_gated and target == "key_rows":
        raise UserError(
            f"{where}: {type(model).__name__} has gated feed-forward layers, whose coefficients"
            " scale exactly with the rows of the up projection: use up_rows (resuscitate with"
            " rows: up), key_rows are for ungated layers, where the scale is not linear"
        )
    if not layers.is_gated and target == "up_rows":
        raise UserError(
            f"{where}: {type(model).__name__} has ungated feed-forward layers, whose coefficients"
            " are not linear in a row of the up projection: up_rows do not apply; key_rows"
            " (resuscitate with rows: key) do, through the activation"
        )
    for layer, row_factors in enumerate(torch.from_numpy(values)):
        layers.up_rows(layer).scale(row_factors)


def _scale_queries(model: PreTrainedModel, factor: float, *, where: str) -> None:
    """Multiply all attention scores of a model by ``factor``, in place.

    Raises:
        UserError: the model normalises or clips its queries, or caps its scores.
    """
    family = find_family(type(model).__name__, where=where)
    refuse_query_scaling(family, model.config.to_dict(), where=where)
    for layer in attrgetter(family.layers)(model.base_model):
        projection = attrgetter(family.queries)(layer)
        is_transposed = isinstance(projection, Conv1D)
        weight = projection.weight.T if is_transposed else projection.weight  # (rows, d)
        with torch.no_grad():
            for rows in (weight, projection.bias):
                if rows is not None:
                    _query_rows(rows, family.query_layout, model).mul_(factor)


def _query_rows(rows: Tensor, layout: str, model: PreTrainedModel) -> Tensor:
    """View the rows (rows, …) of a projection that make queries."""
    num_heads = model.config.num_attention_heads
    if layout == "interleaved":  # by head: query, key, value
        return rows.view(num_heads, 3, -1, *rows.shape[1:])[:, 0]
    if layout == "leading":
        head_dim = getattr(model.config, "head_dim", None) or model.config.hidden_size // num_heads
        return rows[: num_heads * head_dim]
    return rows
