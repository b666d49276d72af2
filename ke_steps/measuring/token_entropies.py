"""How widely each head attends and how undecided the model is: entropies while the model runs.

Attention entropy: an attention row is the softmax over the tokens that one query sees; its entropy
is computed beside the attention output, from the same queries and keys (paper: the mean over
positions and heads, summed over layers). Next-token entropy: that of the predicted distribution.
Both go chunk by chunk: no more scores or logits than one chunk's are in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from ke_steps.models import ranks
from ke_steps.models.attention import Attention, observing
from ke_steps.models.loading import output_logits

CHUNK_ELEMENTS = {"cpu": 2**20, "cuda": 2**26}
"""Attention scores (heads × rows × keys) held at a time, in fp32."""

CHUNK_POSITIONS = 1024
CHUNK_TOKENS = 8192
"""Logits held at a time are (positions, tokens of the vocabulary) in fp32: 32 MiB."""

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
    _, query, key, mask, scaling, softcap = attention
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


def mean_next_token_entropies(
    model: PreTrainedModel, hidden: Tensor, num_tokens: list[int]
) -> Tensor:
    """Return the entropy in nats of the predictions, mean over positions, (B,) fp64.

    Args:
        model: whose output layer is used.
        hidden: (B, T, d), final hidden states of right-padded instances.
        num_tokens: of each instance (B,), whose predictions count, the last one's included.
    """
    positions = torch.cat([row[:length] for row, length in zip(hidden, num_tokens, strict=True)])
    chunks = [next_token_entropies(model, part) for part in positions.split(CHUNK_POSITIONS)]
    by_instance = torch.cat(chunks).double().split(num_tokens)
    return torch.stack([entropies.mean() for entropies in by_instance])


def next_token_entropies(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return the entropy in nats (n,) fp32 of what the hidden states (n, d) predict."""
    vocab_size = model.config.vocab_size
    parts = [
        softmax_entropy(output_logits(model, hidden, slice(first, first + CHUNK_TOKENS)).float())
        for first in range(0, vocab_size, CHUNK_TOKENS)
    ]
    log_normalizers, entropies = (torch.stack(values) for values in zip(*parts, strict=True))
    return joined_entropy(log_normalizers, entropies)


def softmax_entropy(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return log Z and the entropy H in nats of the softmax of scores (…, n) fp32, both (…,).

    With z the scores, log Z = log Σ exp z and H = log Z - Σ p z; scores are shifted by their
    maximum, so that neither overflows nor cancels. All scores must be finite.
    """
    top = scores.amax(dim=-1, keepdim=True)
    shifted = scores - top
    weights = shifted.exp()
    normalizer = weights.sum(dim=-1)
    expected = weights.mul_(shifted).sum(dim=-1) / normalizer
    log_normalizer = normalizer.log()
    return top.squeeze(-1) + log_normalizer, log_normalizer - expected


def joined_entropy(log_normalizers: Tensor, entropies: Tensor) -> Tensor:
    """Return the entropy (…,) of a softmax whose n scores were split into k parts, both (k, …).

    By the chain rule: that of which part it is, plus the mean over parts of that within the part.
    """
    _, between = softmax_entropy(log_normalizers.movedim(0, -1))
    return between + (torch.softmax(log_normalizers, dim=0) * entropies).sum(dim=0)
