"""Multiple-choice tasks in one form, and a model's predictions on them.

An item has one token span per choice. A choice's score is the log probability of its continuation,
divided by the continuation's characters where the task normalises so; the prediction is the
likeliest choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ke_steps.scoring.spans import Span, score_spans
from ke_steps.settings.texts import World
from ke_steps.settings.types import Precision
from ke_steps.texts.tokenizers import Tokenizer
from ke_steps.texts.world import recall_questions


@dataclass(frozen=True)
class Item:
    """One question."""

    choices: tuple[Span, ...]
    divisors: tuple[int, ...]
    """What each choice's log probability is divided by: 1, or its length in characters."""

    label: int
    """The right choice."""


def recall_items(world: World, tokenizer: Tokenizer) -> list[Item]:
    """Return the world's recall questions; " " and a choice continue the prompt, by sum."""
    items = []
    for question in recall_questions(world):
        pairs = [(question.prompt, " " + choice) for choice in question.choices]
        choices = tuple(continuations(tokenizer, pairs))
        items.append(Item(choices, (1,) * len(choices), question.label))
    return items


def continuations(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> list[Span]:
    """Return the spans of (context, continuation), behind what texts begin with.

    Raises:
        UserError: a continuation has no token of its own.
    """
    begin = tokenizer.begin_ids
    return [
        Span([*begin, *token_ids], len(begin) + start)
        for token_ids, start in tokenizer.encode_joined(pairs)
    ]


def predict(
    model: PreTrainedModel,
    items: Sequence[Item],
    *,
    batch_size_sequences: int,
    precision: Precision,
    description: str,
    allow_nan: bool = False,
) -> NDArray[np.int64]:
    """Return the index of the likeliest choice of every item, the first one when tied.

    With ``allow_nan`` one whose log probability is no number counts as the likeliest.
    """
    spans = list(chain.from_iterable(item.choices for item in items))
    scores = score_spans(
        model,
        spans,
        batch_size_sequences=batch_size_sequences,
        precision=precision,
        description=description,
        allow_nan=allow_nan,
    )
    sums = iter([float(score.log_probabilities.sum()) for score in scores])
    return np.array(
        [np.argmax([next(sums) / divisor for divisor in item.divisors]) for item in items]
    )
