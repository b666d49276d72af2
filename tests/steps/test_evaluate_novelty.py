"""Losses of documents against the full logits of the model, computed one document at a time."""

import numpy as np
import pandas as pd
import pytest
import torch

from ke_steps import evaluate_novelty
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.text_schemas import DOCUMENTS, NOVELTY
from ke_steps.job.errors import UserError
from ke_steps.settings import texts
from ke_steps.settings.texts import EvaluateNoveltyJob
from tests.invented.models import (
    EOS_ID,
    MAX_LENGTH_TOKENS,
    build_checkpoint,
    build_model,
    build_sequences,
    random_sequences,
)

LENGTHS = [5, 1, 0, 2, 90, 30, 7, 60]


def build_corpus(directory, seed, lengths=LENGTHS, cut_tokens=0, length=16):
    """Write a corpus of random documents whose stream was cut before its first ``cut_tokens``.

    Returns:
        The two tables, and {document id: token ids} of those that begin in it.
    """
    directory.mkdir()
    parts, rows, begun, position = [], [], {}, -cut_tokens
    for number, num_tokens in enumerate(lengths):
        ids = random_sequences(1, num_tokens, seed=100 * seed + number)[0]
        parts += [ids, np.array([EOS_ID], dtype=np.int32)]
        if num_tokens and position + num_tokens > 0:
            rows.append((f"{directory.name}-{number}", "", position, num_tokens))
        if position >= 0:
            begun[f"{directory.name}-{number}"] = ids
        position += num_tokens + 1
    stream = np.concatenate(parts)[cut_tokens:]
    stream = stream[: len(stream) - len(stream) % length]
    rows = [row for row in rows if row[2] < len(stream)]
    sequences = build_sequences(
        directory / "sequences.parquet", input_ids=stream.reshape(-1, length)
    )
    documents = directory / "documents.parquet"
    frame = pd.DataFrame(rows, columns=DOCUMENTS.names)
    write_table(documents, frame, DOCUMENTS)
    num_lost = max(position - len(stream), 0)
    last = f"{directory.name}-{len(lengths) - 1}"
    begun[last] = begun[last][: max(lengths[-1] + 1 - num_lost, 0)]
    return sequences, documents, begun


def settings(**changes):
    values = {
        "corpora": ["one", "two"],
        "num_documents": 4,
        "max_document_tokens": 1000,
        "batch_size_sequences": 3,
        "num_threads": 1,
    }
    return EvaluateNoveltyJob.model_validate(values | changes)


@pytest.fixture(scope="module")
def model():
    return build_model("olmo", seed=5)


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    return build_checkpoint(tmp_path_factory.mktemp("novelty") / "olmo", model=model)


def brute_force(model, ids):
    """Mean next-token loss in nats, from the full logits in float64."""
    with torch.no_grad():
        logits = model(torch.tensor([ids.tolist()])).logits[0].double()
    log_probabilities = torch.log_softmax(logits, dim=-1)
    return -np.mean([float(log_probabilities[n, ids[n + 1]]) for n in range(len(ids) - 1)])


def evaluate(checkpoint, tmp_path, tables, **changes):
    output = tmp_path / "novelty.parquet"
    evaluate_novelty.run(
        checkpoint=checkpoint,
        sequences=[table[0] for table in tables],
        documents=[table[1] for table in tables],
        output=output,
        settings=settings(**changes),
    )
    return read_frame(output, NOVELTY)


@pytest.mark.parametrize(("max_document_tokens", "limit"), [(1000, MAX_LENGTH_TOKENS), (9, 9)])
def test_losses_are_those_of_the_full_logits(
    checkpoint, model, tmp_path, max_document_tokens, limit
):
    corpora = [
        build_corpus(tmp_path / "one", seed=1),
        build_corpus(tmp_path / "two", seed=2, cut_tokens=3),
    ]
    table = evaluate(checkpoint, tmp_path, corpora, max_document_tokens=max_document_tokens)
    expected = []
    for name, (_, _, begun) in zip(["one", "two"], corpora, strict=True):
        usable = [(key, ids[:limit]) for key, ids in begun.items() if len(ids) >= 2]
        expected += [(name, key, len(ids) - 1, brute_force(model, ids)) for key, ids in usable[:4]]
    assert list(zip(table["corpus"], table["document_id"], table["num_tokens"], strict=True)) == [
        row[:3] for row in expected
    ]
    np.testing.assert_allclose(table["loss_nats"], [row[3] for row in expected], rtol=1e-5)
    assert "two-0" not in set(table["document_id"])  # its beginning was not written


def test_a_document_is_scored_as_far_as_it_was_written(checkpoint, model, tmp_path):
    corpus = build_corpus(tmp_path / "one", seed=3, lengths=[10, 30])
    (last,) = [ids for key, ids in corpus[2].items() if key == "one-1"]
    assert 2 <= len(last) < 30
    table = evaluate(checkpoint, tmp_path, [corpus], corpora=["one"], num_documents=2)
    assert table["num_tokens"].tolist() == [9, len(last) - 1]
    assert table["loss_nats"][1] == pytest.approx(brute_force(model, last), rel=1e-5)


def test_same_input_same_bytes(checkpoint, tmp_path):
    corpus = build_corpus(tmp_path / "one", seed=1)
    contents = []
    for _ in range(2):
        evaluate(checkpoint, tmp_path, [corpus], corpora=["one"])
        contents.append((tmp_path / "novelty.parquet").read_bytes())
    assert contents[0] == contents[1]


def test_without_a_number_all_documents_are_scored_up_to_a_limit(checkpoint, tmp_path, monkeypatch):
    corpus = build_corpus(tmp_path / "one", seed=1)
    named = {"corpora": ["one"], "num_documents": None}
    assert len(evaluate(checkpoint, tmp_path, [corpus], **named)) == 6
    monkeypatch.setattr(texts, "MOST_DOCUMENTS", 2)
    assert len(evaluate(checkpoint, tmp_path, [corpus], **named)) == 2


def test_too_few_documents_are_refused(checkpoint, tmp_path):
    corpus = build_corpus(tmp_path / "one", seed=1)
    with pytest.raises(UserError, match="6 documents of at least 2 tokens begin in its corpus"):
        evaluate(checkpoint, tmp_path, [corpus], corpora=["one"], num_documents=7)


def test_as_many_tables_as_corpora(checkpoint, tmp_path):
    corpus = build_corpus(tmp_path / "one", seed=1)
    with pytest.raises(UserError, match="for 2 corpora; give one of each in the order"):
        evaluate(checkpoint, tmp_path, [corpus])
