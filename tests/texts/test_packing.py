"""Packing draws no more than it needs, and says which documents are in."""

import hashlib
import itertools

import numpy as np
import pytest

from ke_steps.texts import packing
from ke_steps.texts.documents import Document
from ke_steps.texts.packing import (
    DocumentTable,
    TooShortTextError,
    content_sha256,
    pack,
    select,
)


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
    table = DocumentTable(num_skipped_tokens=4)
    lengths = [3, 2, 0, 1, 5]  # first tokens -4, 0, 3 (empty), 4, 6: the last is beyond the end
    documents = [
        Document(str(n), f"{n}", np.zeros(length + 1, dtype=np.int32), length)
        for n, length in enumerate(lengths)
    ]
    assert list(table.watch(documents)) == documents
    written = table.written(6)
    assert written["document_id"].to_pylist() == ["1", "3"]
    assert written["first_token"].to_pylist() == [0, 4]
    assert table.num_tokens == sum(lengths) + len(lengths) - 4
    assert content_sha256(written) == hashlib.sha256(b"1\n3\n").hexdigest()


def test_documents_of_a_long_stream_are_kept_in_chunks(monkeypatch):
    monkeypatch.setattr(packing, "DOCUMENTS_PER_CHUNK", 3)
    table = DocumentTable(0)
    documents = (Document(str(n), "", np.zeros(2, dtype=np.int32), 1) for n in range(10))
    assert len(list(table.watch(documents))) == 10
    written = table.written(10**6)
    assert written["document_id"].num_chunks == 4
    assert written["first_token"].to_pylist() == list(range(0, 20, 2))


def test_a_number_or_all_that_there_is_up_to_it():
    for length, skip, may_be_fewer, expected in [
        (9, 2, True, [2, 3, 4, 5, 6]),
        (4, 2, True, [2, 3]),
        (9, 2, False, [2, 3, 4, 5, 6]),
    ]:
        drawn = select(iter(range(length)), skip, 5, may_be_fewer=may_be_fewer)
        assert list(drawn) == expected
    for length, may_be_fewer in [(2, True), (6, False)]:
        drawn = select(iter(range(length)), 2, 5, may_be_fewer=may_be_fewer)
        with pytest.raises(TooShortTextError, match=f"the text has {length} sequences, too few"):
            list(drawn)
