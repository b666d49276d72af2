"""Documents laid end to end and cut into sequences of equal length, in bounded memory."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from ke_steps.artefacts.text_schemas import DOCUMENTS, sequences_schema
from ke_steps.job.errors import UserError
from ke_steps.texts.documents import Document

ROW_GROUP_TOKENS = 2**20
DOCUMENTS_PER_CHUNK = 4096

Sequence = NDArray[np.int32]


class DocumentTable:
    """The documents that have a token in the written sequences; some hundred bytes for each."""

    def __init__(self, num_skipped_tokens: int, num_written_tokens: int) -> None:
        self.num_documents = 0
        self._position = -num_skipped_tokens
        self._end = num_written_tokens
        self._hash = hashlib.sha256()
        self._rows: list[tuple[str, str, int, int]] = []
        self._chunks: list[pa.RecordBatch] = []

    def watch(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Pass the documents of the stream through, taking down those that are written."""
        for document in documents:
            first, num_tokens = self._position, document.num_tokens
            if num_tokens and first + num_tokens > 0 and first < self._end:
                self._add((document.document_id, document.content_sha256, first, num_tokens))
            self._position += len(document.token_ids)
            yield document

    def _add(self, row: tuple[str, str, int, int]) -> None:
        self.num_documents += 1
        self._hash.update(f"{row[1]}\n".encode())
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

    def content_sha256(self) -> str:
        """Return the sha256 over the documents' content hashes, in order, one a line."""
        return self._hash.hexdigest()

    def columns(self) -> dict[str, pa.ChunkedArray]:
        """Return the columns of ``text_schemas.DOCUMENTS``."""
        if self._rows:
            self._flush()
        table = pa.Table.from_batches(self._chunks, schema=DOCUMENTS)
        return dict(zip(table.column_names, table.columns, strict=True))


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


def select(sequences: Iterator[Sequence], skip: int, num: int) -> Iterator[Sequence]:
    """Yield ``num`` sequences after the first ``skip``, with progress; draw no more than that.

    Raises:
        UserError: the stream ends too early; by then what it had has been yielded.
    """
    wanted, total = skip + num, 0
    drawn = tqdm(itertools.islice(sequences, wanted), total=wanted, desc="pack", unit=" sequences")
    for total, sequence in enumerate(drawn, start=1):
        if total > skip:
            yield sequence
    if total < wanted:
        raise UserError(
            f"corpora.<name>.num_sequences: the text has {total} sequences, too few for"
            f" skip_sequences {skip} + num_sequences {num}"
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
