"""The entropy of a softmax, without keeping the probabilities."""

from __future__ import annotations

import torch
from torch import Tensor


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
