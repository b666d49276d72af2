"""Interventions put into a model: rows of some projections changed, settings of its forward pass.

The scale of the query projections is an inverse temperature of the attention. Attention scores
are q · k / √head_dim; where nothing but rotations and linear maps lies between the projection and
the scores, a factor on the projection's rows and biases is a factor on the scores, exactly. Where
not, the forward pass still has a temperature (``models.temperature``).
"""

from __future__ import annotations

from operator import attrgetter

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ke_steps.artefacts.interventions import NOISE, Intervention, Target
from ke_steps.checkpoints.allowed_interventions import refuse_query_scaling, refuse_rows
from ke_steps.checkpoints.families import Family
from ke_steps.job.errors import UserError
from ke_steps.models.feed_forward import FeedForward, feed_forward
from ke_steps.models.parts import family_of, whole
from ke_steps.models.temperature import set_temperature

_SHAPES: dict[Target, tuple[int, ...]] = {
    "query_rows": (),
    "attention_temperature": (2,),
    "noise_seed": (),
}
"""Of what is not one number for each memory."""


def intervene(model: PreTrainedModel, intervention: Intervention, *, where: str) -> None:
    """Change rows of a model's parameters, and the temperature of its attention, in place.

    ``up_rows`` scale the coefficients of a gated model by the same factors, for the same input.
    ``key_rows`` do not: in an ungated model c = act(k · x + b), so that the activation bends the
    factor on k and b. ``memory_vectors`` scale what each memory adds to its layer's output.

    Raises:
        UserError: the values are not for such a model.
    """
    layers = feed_forward(model)
    family = family_of(model, where)
    for target, values in intervention.items():
        expected = _SHAPES.get(target, (layers.num_layers, layers.num_memories))
        if values.shape != expected:
            raise UserError(f"{where}: {target} is {values.shape}, expected {expected}")
        if target.startswith(("up_rows", "key_rows")):
            refuse_rows(family, target.partition("_")[0], where=where)
    factor = intervention.get("query_rows")
    if factor is not None:
        refuse_query_scaling(family, model.config.to_dict(), where=where)
    if intervention.keys() - {"attention_temperature"}:
        for index, layer in enumerate(attrgetter(family.layers)(model.base_model)):
            with whole(layer):
                for rows in NOISE:
                    _change_rows(layers, rows, index, intervention)
                if factor is not None:
                    _scale_queries(attrgetter(family.queries)(layer), family, model, float(factor))
    if (temperatures := intervention.get("attention_temperature")) is not None:
        set_temperature(model, float(temperatures[0]))


def _change_rows(
    layers: FeedForward, target: Target, layer: int, intervention: Intervention
) -> None:
    """Scale the rows of a layer, then move them; both where the intervention says so."""
    is_vector = target == "memory_vectors"
    rows = layers.vector_rows(layer) if is_vector else layers.up_rows(layer)
    if (factors := intervention.get(target)) is not None:
        rows.scale(torch.from_numpy(factors[layer]))
    if (distances := intervention.get(NOISE[target])) is not None:
        # numpy's generator, and of its own for each layer: on any device, in any order, the same
        draws = np.random.default_rng((int(intervention["noise_seed"]), layer, is_vector))
        width = rows.weight.shape[-1] + (rows.bias is not None)
        directions = draws.standard_normal((layers.num_memories, width), dtype=np.float32)
        rows.move(torch.from_numpy(distances[layer]), torch.from_numpy(directions))


def _scale_queries(
    projection: nn.Linear | Conv1D, family: Family, model: PreTrainedModel, factor: float
) -> None:
    """Multiply all attention scores of a layer by ``factor``, in place."""
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
