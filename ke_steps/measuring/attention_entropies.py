"""How widely each head attends: entropies of attention rows, taken while the model runs.

An attention row is the softmax over the tokens that one query sees (paper: the mean over positions
and heads, summed over layers). It is computed beside the attention output, from the same queries,
keys and masks. With scores s·q·kⱼ, weights pⱼ and log Z the log of their normaliser, a row's
entropy is

    H = log Z - s·q·(Σⱼ pⱼ kⱼ),

so that one fused call gives it, attention with the keys in place of the values. Where torch has no
such call for what a model does (capped scores), rows are computed from scores, a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from ke_steps.measuring.token_entropies import softmax_entropy
from ke_steps.models import ranks
from ke_steps.models.attention import Attention, observing

CHUNK_ELEMENTS = {"cpu": 2**20, "cuda": 2**26}
"""Attention scores (heads × rows × keys) held at a time, in fp32, where they are held at all."""

HIDDEN = torch.finfo(torch.float32).min
"""Score of a key that a query does not see: finite, so that its weight is 0 and not NaN."""

GPU_ALIGNMENT = 8
"""Numbers; the fused call of a GPU takes heads and rows of a mask that are multiples of it."""


class AttentionEntropies:
    """Entropies in nats of every layer and head, mean over positions, of instance after instance.

    The first query sees only itself: its entropy is 0, and it counts as a position.
    """

    def __init__(self, model: PreTrainedModel, num_instances: int) -> None:
        config = model.config
        shape = (config.num_hidden_layers, num_instances, config.num_attention_heads)
        self._entropies = torch.zeros(shape, dtype=torch.float64, device=model.device)
        self._model = model

    @contextmanager
    def recording(self, place: range, num_tokens: list[int]) -> Iterator[None]:
        """Record a forward pass of right-padded instances, of which ``num_tokens`` (B,) count.

        ``place`` (B,) is where they are among all instances. Passes outside the block cost nothing.
        """

        def record(attention: Attention) -> None:
            means = mean_row_entropies(attention, num_tokens)
            self._entropies[attention.layer, place.start : place.stop] = means

        with observing(self._model, record):
            yield

    def finish(self) -> NDArray[np.float64]:
        """Return the entropies (num_layers, N, num_heads) that all ranks recorded, others are 0."""
        ranks.add_up(self._entropies)
        entropies: NDArray[np.float64] = self._entropies.cpu().numpy()
        return entropies


def mean_row_entropies(attention: Attention, num_tokens: list[int]) -> Tensor:
    """Return the entropy of attention rows, mean over positions, (B, num_heads) fp64.

    Args:
        attention: of B right-padded instances.
        num_tokens: of each instance (B,); rows after them are padding and do not count.
    """
    if is_fused(attention):
        by_row = fused_entropies(attention)
        rows = (row[:, :length] for row, length in zip(by_row, num_tokens, strict=True))
    else:
        rows = (
            entropies_from_scores(attention, instance, length)
            for instance, length in enumerate(num_tokens)
        )
    return torch.stack([row.mean(dim=-1, dtype=torch.float64) for row in rows])


def is_fused(attention: Attention) -> bool:
    """Tell whether one fused call gives the entropies."""
    on_cpu = attention.query.device.type == "cpu"
    is_aligned = attention.query.shape[-1] % GPU_ALIGNMENT == 0
    return attention.softcap is None and (on_cpu or is_aligned)


def fused_entropies(attention: Attention) -> Tensor:
    """Return the entropies of all rows (B, num_heads, T) fp32; memory is that of the queries."""
    _, query, key, mask, scaling, _ = attention
    group = query.shape[1] // key.shape[1]
    key = key[:, :, None].expand(-1, -1, group, -1, -1).flatten(1, 2)  # no copy where it is 1
    mean_key, log_normalizer = FUSED[query.device.type](query, key, mask, scaling)
    mean_score = scaling * (query * mean_key.float()).sum(dim=-1)
    return (log_normalizer - mean_score).clamp_(min=0)


def _on_cpu(
    query: Tensor, key: Tensor, mask: Tensor | None, scaling: float
) -> tuple[Tensor, Tensor]:
    query, key = query.float(), key.float()  # bf16 is no faster here
    bias = None if mask is None else _added_to_scores(mask, query)
    found: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, key, is_causal=bias is None, attn_mask=bias, scale=scaling
    )
    return found


def _on_gpu(
    query: Tensor, key: Tensor, mask: Tensor | None, scaling: float
) -> tuple[Tensor, Tensor]:
    bias = None if mask is None else _added_to_scores(mask, query)
    mean_key, log_normalizer, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, key, bias, True, is_causal=bias is None, scale=scaling
    )
    return mean_key, log_normalizer[..., : query.shape[2]]


FUSED = {"cpu": _on_cpu, "cuda": _on_gpu}
"""By type of device: attention with the keys for values, and the log of its normaliser.

torch's public attention gives no normaliser (``flex_attention`` does, and holds all scores unless
it is compiled); the operators behind it do.
"""


def _added_to_scores(mask: Tensor, query: Tensor) -> Tensor:
    """Return a mask (B or 1, 1, T, T) as what is added to scores, for every instance and head."""
    length = query.shape[2]
    room = -length % GPU_ALIGNMENT
    shape = (*mask.shape[:3], length + room)
    bias = torch.zeros(shape, dtype=query.dtype, device=query.device)[..., :length]
    bias = bias.masked_fill_(~mask, -torch.inf) if mask.dtype == torch.bool else bias.copy_(mask)
    return bias.expand(*query.shape[:3], length)


def entropies_from_scores(attention: Attention, instance: int, length: int) -> Tensor:
    """Return the entropies of an instance's first rows (num_heads, length) fp32."""
    _, query, key, mask, scaling, softcap = attention
    q = query[instance].float().unflatten(0, (key.shape[1], -1))  # (kv heads, g, T, head_dim)
    k = key[instance].float()[:, None].mT  # (kv heads, 1, head_dim, T)
    seen = None if mask is None else mask[instance % len(mask)]
    num_rows = max(1, CHUNK_ELEMENTS[query.device.type] // (query.shape[1] * length))
    entropies = []
    for first in range(0, length, num_rows):
        last = min(first + num_rows, length)
        scores = (q[:, :, first:last] @ k[..., :last]).flatten(0, 1) * scaling
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        entropies.append(softmax_entropy(_masked(scores, seen, first, last))[1])
    return torch.cat(entropies, dim=-1)


def _masked(scores: Tensor, mask: Tensor | None, first: int, last: int) -> Tensor:
    """Hide what rows first…last-1 do not see in their scores (num_heads, rows, last)."""
    if mask is None:
        hidden = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device)
        return scores.masked_fill_(hidden.triu_(first + 1), HIDDEN)
    part = mask[:, first:last, :last]
    return scores.masked_fill_(~part, HIDDEN) if part.dtype == torch.bool else scores + part
