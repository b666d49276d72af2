"""Log probabilities of token spans: what probes, multiple choice and held-out text all ask for.

A span is a token sequence and the place where its scored part starts. Spans are batched by length,
those that differ in their last token alone share one row, as that token predicts nothing, and the
LM head runs only at the positions that predict a scored token.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import PreTrainedModel

from ke_steps.job.errors import UserError
from ke_steps.models.loading import output_logits
from ke_steps.models.precision import computing
from ke_steps.settings.types import Precision

POSITIONS_PER_HEAD_CALL = 4096
"""Logits are (positions, vocabulary) in fp32: 0.8 GB at most for a vocabulary of 50,304."""


class Span(NamedTuple):
    """Token ids, of which ``token_ids[start:]`` is scored; ``start`` is at least 1."""

    token_ids: Sequence[int] | NDArray[np.int32]
    start: int


class SpanScore(NamedTuple):
    """Per scored token: its log probability in nats, and whether the model ranks it first."""

    log_probabilities: NDArray[np.float32]
    is_argmax: NDArray[np.bool_]


@torch.no_grad()
def score_spans(
    model: PreTrainedModel,
    spans: Sequence[Span],
    *,
    batch_size_sequences: int,
    precision: Precision,
    description: str | None = None,
    allow_nan: bool = False,
) -> list[SpanScore]:
    """Score spans in evaluation mode; draws no random number and restores the model's mode.

    Args:
        model: a causal language model.
        spans: in any order; longer ones are batched first, so that memory peaks at once.
        batch_size_sequences: rows per forward pass.
        precision: of ``models.precision``; log-softmax is always fp32.
        description: label of a progress bar on stderr; no bar when absent.
        allow_nan: return log probabilities that are no numbers, instead of refusing the model.

    Returns:
        One score per span, in the order given.

    Raises:
        UserError: a log probability is not a number.
    """
    groups = _by_input(spans)
    scores: dict[int, SpanScore] = {}
    bar = tqdm(total=len(spans), desc=description, disable=description is None, file=sys.stderr)
    with bar, _evaluating(model, precision):
        for first in range(0, len(groups), batch_size_sequences):
            batch = groups[first : first + batch_size_sequences]
            indices = list(chain.from_iterable(batch))
            found = _score_batch(model, [[spans[index] for index in group] for group in batch])
            if not allow_nan and any(np.isnan(each.log_probabilities).any() for each in found):
                raise UserError("the model's log probabilities are not numbers (NaN)")
            scores.update(zip(indices, found, strict=True))
            bar.update(len(indices))
    return [scores[index] for index in range(len(spans))]


def _by_input(spans: Sequence[Span]) -> list[list[int]]:
    """Return the places of spans in groups with the same tokens but for the last, longest first.

    Choices of one token that continue the same context are such.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, span in enumerate(spans):
        groups[np.asarray(span.token_ids[:-1], dtype=np.int64).tobytes()].append(index)
    return [groups[tokens] for tokens in sorted(groups, key=len, reverse=True)]


@contextmanager
def _evaluating(model: PreTrainedModel, precision: Precision) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with computing(model.device, precision):
            yield
    finally:
        model.train(was_training)


def _score_batch(model: PreTrainedModel, groups: Sequence[Sequence[Span]]) -> list[SpanScore]:
    """Score the spans of groups that share a row, group after group."""
    spans = list(chain.from_iterable(groups))
    if any(span.start < 1 for span in spans):
        raise ValueError("nothing precedes the first token: it has no log probability")
    inputs = [np.asarray(group[0].token_ids[:-1], dtype=np.int64) for group in groups]
    # A pad is after all scored tokens, which attend only to what is before them: any id will do,
    # and no mask, without which attention is faster.
    token_ids = np.zeros((len(inputs), len(inputs[0])), dtype=np.int64)
    for row, tokens in enumerate(inputs):
        token_ids[row, : len(tokens)] = tokens
    counts = [len(span.token_ids) - span.start for span in spans]
    rows = np.repeat(np.repeat(np.arange(len(groups)), [len(group) for group in groups]), counts)
    columns = np.concatenate([np.arange(span.start, len(span.token_ids)) for span in spans]) - 1
    targets = np.concatenate([span.token_ids[span.start :] for span in spans]).astype(np.int64)

    hidden = model.base_model(
        input_ids=torch.from_numpy(token_ids).to(model.device), use_cache=False
    ).last_hidden_state  # (rows, length, d)
    log_probabilities, is_argmax = _score_positions(
        model, hidden[rows, columns], torch.from_numpy(targets).to(model.device)
    )
    ends = np.cumsum(counts)[:-1]
    return [
        SpanScore(*pair)
        for pair in zip(np.split(log_probabilities, ends), np.split(is_argmax, ends), strict=True)
    ]


def _score_positions(
    model: PreTrainedModel, hidden: Tensor, targets: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Score targets (n,) given the hidden states (n, d) that predict them."""
    log_probabilities, is_argmax = [], []
    for h, t in zip(
        hidden.split(POSITIONS_PER_HEAD_CALL), targets.split(POSITIONS_PER_HEAD_CALL), strict=True
    ):
        logits = output_logits(model, h).float()
        log_probabilities.append(-F.cross_entropy(logits, t, reduction="none"))
        is_argmax.append(logits.argmax(dim=-1) == t)
    return torch.cat(log_probabilities).cpu().numpy(), torch.cat(is_argmax).cpu().numpy()
