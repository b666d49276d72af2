"""How widely each head attends: the entropy of attention rows, taken while the model runs.

An attention row is the softmax over the tokens that one query sees (paper: attention entropy is
the mean over positions and heads, summed over layers). Its entropy is computed beside the
attention output, from the same queries and keys, a chunk of rows at a time: neither another
chunk's weights nor another layer's are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ke_steps import _ranks
from ke_steps._softmax_entropy import softmax_entropy

CHUNK_ELEMENTS = {"cpu": 2**20, "cuda": 2**26}
"""Attention scores (heads × rows × keys) held at a time, in fp32."""

HIDDEN = torch.finfo(torch.float32).min
"""Score of a key that a query does not see: finite, so that its weight is 0 and not NaN."""


class AttentionEntropies:
    """Entropies in nats of every layer and head, mean over positions, of instance after instance.

    The first query sees only itself: its entropy is 0, and it counts as a position.
    """

    def __init__(self, model: PreTrainedModel, num_instances: int) -> None:
        config = model.config
        shape = (config.num_hidden_layers, num_instances, config.num_attention_heads)
        self._entropies = torch.zeros(shape, dtype=torch.float64, device=model.device)
        self._attention = config._attn_implementation

    @contextmanager
    def recording(self, place: range, num_tokens: list[int]) -> Iterator[None]:
        """Record a forward pass of right-padded instances, of which ``num_tokens`` (B,) count.

        ``place`` (B,) is where they are among all instances.

        Meanwhile the entry of the model's attention function is one that records and then calls
        it, so that masks and outputs stay the model's. Passes outside the block cost nothing.
        """
        name = self._attention
        attention = ALL_ATTENTION_FUNCTIONS.get(name)

        def record(
            module: Any,
            query: Tensor,
            key: Tensor,
            value: Tensor,
            mask: Tensor | None,
            **options: Any,
        ) -> tuple[Tensor, Tensor | None]:
            self._entropies[module.layer_idx, place.start : place.stop] = mean_row_entropies(
                query,
                key,
                mask,
                num_tokens,
                scaling=options["scaling"],
                softcap=options.get("softcap"),
            )
            # each model's file has its own eager attention, which is not among the shared functions
            attend = attention or sys.modules[type(module).__module__].eager_attention_forward
            output: tuple[Tensor, Tensor | None] = attend(
                module, query, key, value, mask, **options
            )
            return output

        ALL_ATTENTION_FUNCTIONS[name] = record
        try:
            yield
        finally:
            del ALL_ATTENTION_FUNCTIONS[name]

    def finish(self) -> NDArray[np.float64]:
        """Return the entropies (num_layers, N, num_heads) that all ranks recorded, others are 0."""
        _ranks.add_up(self._entropies)
        entropies: NDArray[np.float64] = self._entropies.cpu().numpy()
        return entropies


def mean_row_entropies(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    num_tokens: list[int],
    *,
    scaling: float,
    softcap: float | None,
) -> Tensor:
    """Return the entropy of attention rows, mean over positions, (B, num_heads) fp64.

    Args:
        query: (B, num_heads, T, head_dim).
        key: (B, num_kv_heads, T, head_dim), each shared by a run of query heads.
        mask: (B or 1, 1, T, T), True or 0 where a query sees a key, False or very negative where
            not; None for all keys up to the query.
        num_tokens: of each instance (B,); rows after them are padding and do not count.
        scaling: of the scores.
        softcap: scores s become softcap · tanh(s / softcap); None leaves them as they are.
    """
    means = query.new_zeros(query.shape[:2], dtype=torch.float64)
    num_kv_heads = key.shape[1]
    for instance, length in enumerate(num_tokens):
        q = query[instance].float().unflatten(0, (num_kv_heads, -1))  # (kv heads, g, T, head_dim)
        k = key[instance].float()[:, None].mT  # (kv heads, 1, head_dim, T)
        seen = None if mask is None else mask[instance % len(mask)]
        num_rows = max(1, CHUNK_ELEMENTS[query.device.type] // (query.shape[1] * length))
        for first in range(0, length, num_rows):
            last = min(first + num_rows, length)
            scores = (q[:, :, first:last] @ k[..., :last]).flatten(0, 1) * scaling
            if softcap is not None:
                scores = softcap * torch.tanh(scores / softcap)
            _, entropies = softmax_entropy(_masked(scores, seen, first, last))
            means[instance] += entropies.sum(dim=-1, dtype=torch.float64)
        means[instance] /= length
    return means


def _masked(scores: Tensor, mask: Tensor | None, first: int, last: int) -> Tensor:
    """Hide what rows first…last-1 do not see in their scores (num_heads, rows, last)."""
    if mask is None:
        hidden = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device)
        return scores.masked_fill_(hidden.triu_(first + 1), HIDDEN)
    part = mask[:, first:last, :last]
    return scores.masked_fill_(~part, HIDDEN) if part.dtype == torch.bool else scores + part
