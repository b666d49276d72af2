"""Other ways to the likeliest choice of every item, from the same tokens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks.comparison import Measurement
from ke_steps.scoring.spans import Span
from ke_steps.scoring.tasks import Item

Peer = Callable[[PreTrainedModel, Sequence[Sequence[Item]], int], Measurement]
"""Of a model, the items of each task and a batch size; gives the scores of all choices in nats."""


def sorted_loop(
    model: PreTrainedModel, tasks: Sequence[Sequence[Item]], batch_size: int
) -> Measurement:
    """Return a plain loop: spans sorted by length, padded to a batch's longest, full logits."""

    def measure() -> NDArray[np.float64]:
        return np.concatenate([_score(model, spans_of(items), batch_size) for items in tasks])

    return measure


def lm_evaluation_harness(
    model: PreTrainedModel, tasks: Sequence[Sequence[Item]], batch_size: int
) -> Measurement:
    """Return the harness's own log likelihoods, task by task; it sorts by length."""
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE()),
        eos_token="</s>",
        pad_token="</s>",
    )
    harness: Any = HFLM(pretrained=model, tokenizer=words, batch_size=batch_size)

    def measure() -> NDArray[np.float64]:
        sums: list[float] = []
        for items in tasks:
            requests = [
                (("", ""), list(ids[:start]), list(ids[start:])) for ids, start in spans_of(items)
            ]
            found = harness._loglikelihood_tokens(requests, disable_tqdm=True)
            sums += [log_likelihood for log_likelihood, _ in found]
        return np.array(sums)

    return measure


def spans_of(items: Sequence[Item]) -> list[Span]:
    """Return the spans of all choices, item after item."""
    return list(chain.from_iterable(item.choices for item in items))


@torch.no_grad()
def _score(model: PreTrainedModel, spans: Sequence[Span], batch_size: int) -> NDArray[np.float64]:
    order = sorted(range(len(spans)), key=lambda index: -len(spans[index].token_ids))
    sums = np.empty(len(spans))
    for first in range(0, len(order), batch_size):
        indices = order[first : first + batch_size]
        sums[indices] = _score_batch(model, [spans[index] for index in indices])
    return sums


def _score_batch(model: PreTrainedModel, spans: Sequence[Span]) -> list[float]:
    rows = [torch.tensor(span.token_ids) for span in spans]
    input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(model.device)
    # pads are on the right of what is scored, which attends only to the left: no mask is needed
    logits = model(input_ids=input_ids, use_cache=False).logits
    predicted = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    position = torch.arange(1, input_ids.shape[1], device=model.device)
    starts = torch.tensor([span.start for span in spans], device=model.device)
    ends = torch.tensor([len(span.token_ids) for span in spans], device=model.device)
    is_scored = (position >= starts[:, None]) & (position < ends[:, None])
    sums: list[float] = (predicted * is_scored).sum(1).tolist()
    return sums
