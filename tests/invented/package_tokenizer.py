"""A tokenizer of ours as the package ai2-olmo-eval wants one, to compare with its own samples."""

from olmo_eval import Tokenizer as BaseTokenizer
from olmo_eval.tasks import LABEL_TO_TASK_MAP


class PackageTokenizer(BaseTokenizer):
    """It begins no text with a special token."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer

    @property
    def vocab_size(self):
        return self._tokenizer.vocab_size

    @property
    def pad_token_id(self):
        return self._tokenizer.pad_token_id

    @property
    def eos_token_id(self):
        return self._tokenizer.eos_token_id

    def encode_batch(self, inputs, add_special_tokens=True):
        encoded = self._tokenizer.encode_batch(list(inputs))
        return [ids + [self.eos_token_id] * add_special_tokens for ids in encoded]

    def decode_batch(self, batch_token_ids, skip_special_tokens=True):
        return [
            self._tokenizer.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)
            for ids in batch_token_ids
        ]


def first_documents(task, tokenizer, num_documents):
    """Return a task of the package that has prepared its first documents only, contexts whole."""

    class FirstDocuments(LABEL_TO_TASK_MAP[task]):
        def prep_examples(self):
            self.dataset = self.dataset.select(range(num_documents))
            super().prep_examples()

    return FirstDocuments(tokenizer=PackageTokenizer(tokenizer))
