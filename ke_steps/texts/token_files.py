"""Documents of a file of raw token ids, as the OLMo project publishes its training data.

The file is a plain array of little-endian uint16 or uint32 ids, without a header even where its
name ends in ``.npy``; documents end with the end-of-text token. Only the tokens asked for are read,
by byte ranges when the file is behind http(s). A document's id is its number in the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ke_steps.job.errors import UserError
from ke_steps.settings.texts import TokenFileText
from ke_steps.texts.byte_ranges import ByteRanges, open_ranges
from ke_steps.texts.documents import Document

BLOCK_BYTES = 2**23

MAX_DOCUMENT_TOKENS = 2**24
"""No document is so long: its end was not recognised, and memory would grow without bound."""

NUMPY_MAGIC = b"\x93NUMPY"

TokenIds = NDArray[np.unsignedinteger[Any]]


def read_token_documents(
    source: TokenFileText,
    *,
    eos_token_id: int,
    vocab_size: int,
    num_tokens: int,
    may_be_shorter: bool = False,
) -> Iterator[Document]:
    """Return the documents within the first ``num_tokens`` tokens; the last one may be cut there.

    All of a file that is shorter, if it may be.

    Raises:
        UserError: at once when the file is missing, too short or of another form; while reading
            for an id outside the vocabulary or a document without an end.
    """
    dtype = np.dtype(source.dtype).newbyteorder("<")
    file = open_ranges(source.location)
    if may_be_shorter:
        num_tokens = min(num_tokens, file.num_bytes // dtype.itemsize)
    _check_form(file, source, dtype.itemsize, num_tokens)
    blocks = _checked(_blocks(file, dtype, num_tokens), source.location, vocab_size)
    return _split(blocks, eos_token_id, source.location)


def _check_form(file: ByteRanges, source: TokenFileText, itemsize: int, num_tokens: int) -> None:
    if file.num_bytes % itemsize:
        raise UserError(
            f"{source.location}: {file.num_bytes} bytes are not a whole number of {source.dtype}"
        )
    if file.num_bytes < num_tokens * itemsize:
        raise UserError(
            f"{source.location}: holds {file.num_bytes // itemsize} tokens, fewer than the"
            f" {num_tokens} of skip_sequences and num_sequences"
        )
    if file.read(0, min(len(NUMPY_MAGIC), file.num_bytes)) == NUMPY_MAGIC:
        raise UserError(f"{source.location}: has a NumPy header; raw token ids are needed")


def _blocks(file: ByteRanges, dtype: np.dtype[Any], num_tokens: int) -> Iterator[TokenIds]:
    num_bytes = num_tokens * dtype.itemsize
    for first in range(0, num_bytes, BLOCK_BYTES):
        yield np.frombuffer(file.read(first, min(BLOCK_BYTES, num_bytes - first)), dtype)


def _checked(blocks: Iterable[TokenIds], location: str, vocab_size: int) -> Iterator[TokenIds]:
    for block in blocks:
        if int(block.max()) >= vocab_size:
            raise UserError(
                f"{location}: token id {block.max()} is outside the tokenizer's vocabulary of"
                f" {vocab_size}; is the file of another tokenizer, or not of {block.dtype.name}?"
            )
        yield block


def _split(blocks: Iterable[TokenIds], eos_token_id: int, location: str) -> Iterator[Document]:
    begun: list[TokenIds] = []
    number = 0
    for block in blocks:
        *ends, rest = np.split(block, np.flatnonzero(block == eos_token_id) + 1)
        for end in ends:
            yield _document(number, [*begun, end], is_ended=True)
            begun.clear()
            number += 1
        begun.append(rest)
        if sum(map(len, begun)) > MAX_DOCUMENT_TOKENS:
            raise UserError(
                f"{location}: no end-of-text token (id {eos_token_id}) within"
                f" {MAX_DOCUMENT_TOKENS} tokens; is the file of another tokenizer?"
            )
    if any(map(len, begun)):
        yield _document(number, begun, is_ended=False)


def _document(number: int, parts: list[TokenIds], *, is_ended: bool) -> Document:
    raw = np.concatenate(parts)
    num_tokens = len(raw) - is_ended
    content_sha256 = hashlib.sha256(raw[:num_tokens].tobytes()).hexdigest()
    return Document(str(number), content_sha256, raw.astype(np.int32), num_tokens)
