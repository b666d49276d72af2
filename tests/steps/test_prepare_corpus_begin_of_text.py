"""Documents that begin with the begin-of-text token, packed and cut out again; ids by hand."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from ke_steps import evaluate_novelty
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.text_schemas import DOCUMENTS, sequences_schema
from tests.invented.command_line import call, provenance_of
from tests.invented.models import build_model, build_tokenizer
from tests.invented.tokenizers import (
    BOS_ID,
    EOS_ID,
    MARK_A,
    MARK_B,
    MARK_C,
    lettered,
    manifest_of,
)

TEXTS = ["a b c", "b", "c c c c c", "a"]
BODIES = [[MARK_A, MARK_B, MARK_C], [MARK_B], [MARK_C] * 5, [MARK_A]]
BEGUN = [[BOS_ID, *body] for body in BODIES]


@pytest.fixture
def manifest(tmp_path):
    return manifest_of(lettered(tmp_path / "tokenizer"))


def prepare(folder, manifest, source=None, **settings):
    """Run the step; return what it refuses with, if it does."""
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    source = source or {"kind": "text", "paths": [str(path)]}
    return call(
        "prepare_corpus",
        {"source": source, "num_sequences": 2, "sequence_length_tokens": 8} | settings,
        tokenizer=manifest,
        output_sequences=folder / "sequences.parquet",
        output_documents=folder / "documents.parquet",
    )


def read(folder):
    """Return the packed tokens end to end, and the table of documents."""
    packed = read_frame(folder / "sequences.parquet", sequences_schema(8))["input_ids"]
    return np.concatenate(list(packed)), read_frame(folder / "documents.parquet", DOCUMENTS)


@pytest.mark.parametrize(
    ("settings", "documents", "noted"),
    [
        ({}, BEGUN, "<s>"),
        ({"begin_of_text": "tokenizer"}, BEGUN, "<s>"),
        ({"begin_of_text": "always"}, BEGUN, "<s>"),
        ({"begin_of_text": "never", "num_sequences": 1}, BODIES, "none"),
    ],
)
def test_each_document_begins_and_ends(tmp_path, manifest, settings, documents, noted):
    assert prepare(tmp_path, manifest, **settings) is None
    stream, table = read(tmp_path)
    expected = [token for document in documents for token in [*document, EOS_ID]]
    assert stream.tolist() == expected[: len(stream)]
    whole = table[table["first_token"] + table["num_tokens"] <= len(stream)]
    found = [
        stream[row.first_token : row.first_token + row.num_tokens].tolist()
        for row in whole.itertuples()
    ]
    assert found == documents[: len(found)]
    assert len(found) >= 2
    assert provenance_of(tmp_path / "sequences.parquet")["begin_of_text"] == noted


def test_a_token_file_is_taken_as_it_is(tmp_path, manifest):
    ids = [token for body in BODIES for token in [*body, EOS_ID]] + [MARK_A, MARK_B]
    (tmp_path / "ids.bin").write_bytes(np.array(ids, dtype="<u2").tobytes())
    source = {"kind": "token_file", "location": str(tmp_path / "ids.bin"), "dtype": "uint16"}
    assert prepare(tmp_path, manifest, source, begin_of_text="always") is None
    assert read(tmp_path)[0].tolist() == ids[:16]


def test_a_tokenizer_without_such_a_token_is_refused(tmp_path):
    manifest = manifest_of(build_tokenizer(tmp_path / "tokenizer"))
    line = prepare(tmp_path, manifest, begin_of_text="always")
    assert "models.<name>.begin_of_text: 'always', but the tokenizer adds no" in line
    assert not (tmp_path / "sequences.parquet").exists()


@torch.no_grad()
def test_a_document_alone_is_scored_from_its_first_token_on(tmp_path, manifest):
    assert prepare(tmp_path, manifest, num_sequences=2) is None
    stream, table = read(tmp_path)
    chosen = evaluate_novelty.beginnings(stream.reshape(2, 8), table, num_documents=3, max_tokens=5)
    assert [each.token_ids.tolist() for each in chosen] == [each[:5] for each in BEGUN[:3]]

    model = build_model("llama", bos_token_id=BOS_ID, eos_token_id=EOS_ID)
    rows = pd.DataFrame(evaluate_novelty.novelty_rows(model, "texts", chosen, 2, "fp32"))
    assert rows["num_tokens"].tolist() == [3, 1, 4]
    exact = model.double()
    for ids, loss in zip(BEGUN, rows["loss_nats"], strict=False):
        tokens = torch.tensor([ids[:5]])
        predicted = exact(tokens).logits[0, :-1].log_softmax(-1)
        expected = -predicted.gather(-1, tokens[0, 1:, None]).mean().item()
        assert loss == pytest.approx(expected, rel=1e-5)
