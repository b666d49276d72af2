"""Query projections, whose scale is the inverse temperature of the attention.

Attention scores are q · k / √head_dim; where nothing but rotations and linear maps lies between
the projection and the scores, a factor on the projection's rows and biases is a factor on the
scores, exactly (paper, section 6: attention temperature as the control of resuscitation).
"""

from __future__ import annotations

from operator import attrgetter

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ke_steps import _families


def scale_queries(model: PreTrainedModel, factor: float, *, where: str) -> None:
    """Multiply all attention scores of a model by ``factor``, in place.

    Raises:
        UserError: the model normalises or clips its queries, or caps its scores.
    """
    family = _families.find_family(type(model).__name__, where=where)
    _families.refuse_query_scaling(family, model.config.to_dict(), where=where)
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
