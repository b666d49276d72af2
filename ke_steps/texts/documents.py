"""Documents on their way into a corpus: as text, and as token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ke_steps.job.errors import UserError
from ke_steps.texts.tokenizers import Tokenizer

DOCUMENTS_PER_BATCH = 256
CHARACTERS_PER_BATCH = 2**20
"""A tokenised text takes some hundred times its size until its ids are taken out of it."""


class TextDocument(NamedTuple):
    """A text and what names it: an id of its source, a place in a file or in the stream."""

    document_id: str
    text: str


class Document(NamedTuple):
    """A tokenised document."""

    document_id: str
    content_sha256: str
    """Of the text in UTF-8, or of the raw token ids where there is no text."""

    token_ids: NDArray[np.int32]
    """(num_tokens,), or one more when the document ends with the end-of-text token."""

    num_tokens: int
    """The begin-of-text token counted, the end-of-text token not."""


def tokenise(texts: Iterable[TextDocument], tokenizer: Tokenizer) -> Iterator[Document]:
    """Yield each text's token ids between what begins and what ends a text.

    Batches go over all threads of the tokenizer.

    Raises:
        UserError: a text is not valid Unicode.
    """
    for batch in _batches(texts):
        hashes = [_hash(text) for text in batch]
        encoded = tokenizer.encode_documents([document.text for document in batch])
        for text, content_sha256, ids in zip(batch, hashes, encoded, strict=True):
            token_ids = np.array(ids, dtype=np.int32)
            yield Document(text.document_id, content_sha256, token_ids, len(ids) - 1)


def _batches(texts: Iterable[TextDocument]) -> Iterator[list[TextDocument]]:
    batch: list[TextDocument] = []
    num_characters = 0
    for document in texts:
        batch.append(document)
        num_characters += len(document.text)
        if len(batch) == DOCUMENTS_PER_BATCH or num_characters >= CHARACTERS_PER_BATCH:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch


def _hash(document: TextDocument) -> str:
    try:
        return hashlib.sha256(document.text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise UserError(
            f"document {document.document_id}: not valid Unicode ({error.reason})"
        ) from error
