"""How undecided the model is: the entropy of its next-token distribution, in chunks.

Neither all positions nor, for a chunk of positions, the logits of the whole vocabulary are in
memory at once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ke_steps import _models
from ke_steps._softmax_entropy import joined_entropy, softmax_entropy

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
        softmax_entropy(
            _models.output_logits(model, hidden, slice(first, first + CHUNK_TOKENS)).float()
        )
        for first in range(0, vocab_size, CHUNK_TOKENS)
    ]
    log_normalizers, entropies = (torch.stack(values) for values in zip(*parts, strict=True))
    return joined_entropy(log_normalizers, entropies)
