"""How undecided the model is: entropies of next-token predictions, and of softmaxes in parts.

The output layer runs chunk by chunk: no more logits than one chunk's are in memory at once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ke_steps.models.loading import output_logits

CHUNK_POSITIONS = 1024
CHUNK_TOKENS = 8192
"""Logits held at a time are (positions, tokens of the vocabulary) in fp32: 32 MiB."""


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
