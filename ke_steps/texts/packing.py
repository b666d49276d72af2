"""Documents laid end to end and cut into sequences of equal length, in bounded memory."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tqdm import tqdm

from ke_steps.artefacts.text_schemas import DOCUMENTS, sequences_schema
from ke_steps.job.errors import UserError
from ke_steps.texts.documents import Document

ROW_GROUP_TOKENS = 2**20
DOCUMENTS_PER_CHUNK = 4096

Sequence = NDArray[np.int32]


class TooShortTextError(UserError):
    """A text that does not fill the sequences asked of it."""


class DocumentTable:
    """The documents that the written sequences are made of; some hundred bytes for each."""

    def __init__(self, num_skipped_tokens: int) -> None:
        self.num_tokens = -num_skipped_tokens
        """Of the stream so far, after those that are skipped."""
        self._rows: list[tuple[str, str, int, int]] = []
        self._chunks: list[pa.RecordBatch] = []

    def watch(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Pass the documents of the stream through, taking down those that are not skipped."""
        for document in documents:
            first, num_tokens = self.num_tokens, document.num_tokens
            if num_tokens and first + num_tokens > 0:
                self._add((document.document_id, document.content_sha256, first, num_tokens))
            self.num_tokens += len(document.token_ids)
            yield document

    def _add(self, row: tuple[str, str, int, int]) -> None:
        self._rows.append(row)
        if len(self._rows) == DOCUMENTS_PER_CHUNK:
            self._flush()

    def _flush(self) -> None:
        columns = zip(*self._rows, strict=True)
        arrays = [
            pa.array(column, type) for column, type in zip(columns, DOCUMENTS.types, strict=True)
        ]
        self._chunks.append(pa.record_batch(arrays, schema=DOCUMENTS))
        self._rows.clear()

    def written(self, num_tokens: int) -> pa.Table:
        """Return ``text_schemas.DOCUMENTS`` of those with one of the first tokens not skipped."""
        if self._rows:
            self._flush()
        table = pa.Table.from_batches(self._chunks, schema=DOCUMENTS)
        return table.filter(pc.less(table["first_token"], num_tokens))


def content_sha256(documents: pa.Table) -> str:
    """Return the sha256 over the documents' content hashes, in order, one a line."""
    hashes = documents["content_sha256"].to_pylist()
    return hashlib.sha256("".join(f"{each}\n" for each in hashes).encode()).hexdigest()


def pack(documents: Iterable[Document], sequence_length_tokens: int) -> Iterator[Sequence]:
    """Yield sequences (sequence_length_tokens,) int32; an unfilled last one is dropped."""
    pending: list[NDArray[np.int32]] = []
    num_pending = 0
    for document in documents:
        pending.append(document.token_ids)
        num_pending += len(document.token_ids)
        if num_pending >= sequence_length_tokens:
            stream = np.concatenate(pending)
            num_left = num_pending % sequence_length_tokens
            yield from stream[: num_pending - num_left].reshape(-1, sequence_length_tokens)
            pending, num_pending = [stream[num_pending - num_left :]], num_left


def select(
    sequences: Iterator[Sequence], skip: int, num: int, *, may_be_fewer: bool = False
) -> Iterator[Sequence]:
    """Yield ``num`` sequences after the first ``skip``, with progress; draw no more than that.

    Where there may be fewer, as many as there are, and at least one.

    Raises:
        TooShortTextError: the stream ends too early; by then what it had has been yielded.
    """
    wanted, least, total = skip + num, 1 if may_be_fewer else num, 0
    drawn = tqdm(itertools.islice(sequences, wanted), total=wanted, desc="pack", unit=" sequences")
    for total, sequence in enumerate(drawn, start=1):
        if total > skip:
            yield sequence
    if total < skip + least:
        raise TooShortTextError(
            f"corpora.<name>.num_sequences: the text has {total} sequences, too few for"
            f" skip_sequences {skip} + num_sequences {least}"
        )


def sequence_batches(
    sequences: Iterator[Sequence], sequence_length_tokens: int
) -> Iterator[pa.RecordBatch]:
    """Yield record batches of ``text_schemas.sequences_schema``, a row group each."""
    schema = sequences_schema(sequence_length_tokens)
    rows = max(1, ROW_GROUP_TOKENS // sequence_length_tokens)
    while block := list(itertools.islice(sequences, rows)):
        column = pa.FixedSizeListArray.from_arrays(
            pa.array(np.concatenate(block)), type=schema.field("input_ids").type
        )
        yield pa.record_batch([column], schema=schema)
