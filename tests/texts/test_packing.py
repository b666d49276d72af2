"""Packing draws no more than it needs, and says which documents are in."""

import hashlib
import itertools

import numpy as np

from ke_steps.texts import packing
from ke_steps.texts.documents import Document
from ke_steps.texts.packing import DocumentTable, pack


def test_pack_holds_no_more_than_a_document():
    drawn = []

    def endless():
        for number in itertools.count():
            drawn.append(number)
            yield Document(str(number), "", np.full(6, number, dtype=np.int32), 5)

    packed = pack(endless(), 4)
    for _ in range(100):
        next(packed)
    assert len(drawn) <= 400 / 6 + 2


def test_a_document_that_only_ends_before_the_corpus_is_not_in_it():
    table = DocumentTable(num_skipped_tokens=4, num_written_tokens=6)
    lengths = [3, 2, 0, 1, 5]  # first tokens -4, 0, 3 (empty), 4, 6: the last is beyond the end
    documents = [
        Document(str(n), f"{n}", np.zeros(length + 1, dtype=np.int32), length)
        for n, length in enumerate(lengths)
    ]
    assert list(table.watch(documents)) == documents
    columns = {name: column.to_pylist() for name, column in table.columns().items()}
    assert columns["document_id"] == ["1", "3"]
    assert columns["first_token"] == [0, 4]
    assert table.num_documents == 2
    assert table.content_sha256() == hashlib.sha256(b"1\n3\n").hexdigest()


def test_documents_of_a_long_stream_are_kept_in_chunks(monkeypatch):
    monkeypatch.setattr(packing, "DOCUMENTS_PER_CHUNK", 3)
    table = DocumentTable(0, 10**6)
    documents = (Document(str(n), "", np.zeros(2, dtype=np.int32), 1) for n in range(10))
    assert len(list(table.watch(documents))) == 10
    columns = table.columns()
    assert columns["document_id"].num_chunks == 4
    assert columns["first_token"].to_pylist() == list(range(0, 20, 2))
