"""Packing equals naive concatenation, from every source; what is wrong is refused in one line."""

import gzip
import hashlib
import itertools
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ke_steps import prepare_corpus
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.text_schemas import DOCUMENTS, sequences_schema
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.settings.texts import Frequency, PrepareCorpus, World
from ke_steps.texts import packing, world
from ke_steps.texts.tokenizers import load_tokenizer
from ke_steps.texts.world import continual_documents

WORLD = {"seed": 0, "num_people": 10, "num_continual_entities": 10, "num_questions": 5}
TEXTS = ["In Orsk the market\nopens at dawn.", "Mara sells lamps — ünïque ones.", "A third text."]


@pytest.fixture
def prepare(tokenizer_manifest, tmp_path):
    """Return a function that runs the step and returns input_ids (num_sequences, length)."""

    def prepare(source, num_sequences=3, length=8, output="sequences.parquet", **more):
        settings = {
            "source": source,
            "num_sequences": num_sequences,
            "sequence_length_tokens": length,
            **more,
        }
        prepare_corpus.run(
            tokenizer=tokenizer_manifest,
            output_sequences=tmp_path / output,
            output_documents=tmp_path / f"documents_of_{output}",
            settings=PrepareCorpus.model_validate(settings),
        )
        schema = sequences_schema(length)
        return np.stack(read_frame(tmp_path / output, schema)["input_ids"])

    return prepare


def naive(tokenizer_manifest, documents, length):
    """Concatenate everything, then cut."""
    tokenizer = load_tokenizer(tokenizer_manifest.parent)
    stream = []
    for document in documents:
        stream.extend(tokenizer.encode(document))
        stream.append(tokenizer.eos_token_id)
    count = len(stream) // length
    return np.array(stream[: count * length], dtype=np.int32).reshape(count, length)


def read_documents(tmp_path, output="sequences.parquet"):
    return read_frame(tmp_path / f"documents_of_{output}", DOCUMENTS)


def text_source(*paths, **more):
    return {"kind": "text", "paths": [str(path) for path in paths], **more}


def write_texts(path, texts, field="text"):
    rows = [{"id": index, field: text} for index, text in enumerate(texts)]
    lines = "\n".join(json.dumps(row) for row in rows) + "\n"
    if path.suffix == ".txt":
        path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines, encoding="utf-8")
    return path


@pytest.mark.parametrize("frequency", [{}, {"zipf_exponent": 1.0, "tail_fraction": 0.2}])
@pytest.mark.parametrize("domain", ["pretraining", "continual"])
def test_world_equals_naive_concatenation(prepare, tokenizer_manifest, domain, frequency):
    packed = prepare({"kind": "world", "domain": domain} | frequency, 50, 16, world=WORLD)
    documents = getattr(world, f"{domain}_documents")
    stream = documents(World.model_validate(WORLD), Frequency(**frequency))
    expected = naive(tokenizer_manifest, itertools.islice(stream, 200), 16)
    assert len(expected) > 50
    np.testing.assert_array_equal(packed, expected[:50])


def test_skipping_gives_the_rest_of_the_same_stream(prepare):
    source = {"kind": "world", "domain": "pretraining"}
    whole = prepare(source, 700, 16, world=WORLD)
    rest = prepare(source, 60, 16, skip_sequences=640, world=WORLD)
    np.testing.assert_array_equal(rest, whole[640:])


@pytest.mark.parametrize("length", [8, 9, 37])
@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".jsonl.gz", ".parquet"])
def test_every_kind_of_file(prepare, tokenizer_manifest, tmp_path, suffix, length):
    path = write_texts(tmp_path / f"corpus{suffix}", TEXTS)
    expected = naive(tokenizer_manifest, TEXTS, length)
    packed = prepare(text_source(path), len(expected), length)
    np.testing.assert_array_equal(packed, expected)


def test_files_are_read_in_the_given_order(prepare, tokenizer_manifest, tmp_path):
    last = write_texts(tmp_path / "a[1]*.jsonl", TEXTS[2:], field="body")
    first = write_texts(tmp_path / "b.parquet", TEXTS[:2], field="body")
    expected = naive(tokenizer_manifest, TEXTS, 8)
    packed = prepare(text_source(first, last, text_field="body"), len(expected))
    np.testing.assert_array_equal(packed, expected)


def test_paragraphs_are_documents(prepare, tokenizer_manifest, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff\n \nOne line\r\nand another.\r\n\r\n \n\nSecond.".encode())
    expected = naive(tokenizer_manifest, ["One line\nand another.", "Second."], 8)
    np.testing.assert_array_equal(prepare(text_source(path), len(expected)), expected)


def test_rows_may_differ_in_other_columns(prepare, tokenizer_manifest, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "One two three."}\n\n{"meta": {"x": [1]}, "text": "Four five six."}')
    expected = naive(tokenizer_manifest, ["One two three.", "Four five six."], 8)
    np.testing.assert_array_equal(prepare(text_source(path), len(expected)), expected)


def test_only_the_needed_part_is_read(prepare, tmp_path):
    path = tmp_path / "a.jsonl"
    text = json.dumps({"text": "One two three four five."}) + "\n"
    path.write_text(text * 1000 + "damaged from here on")
    assert len(prepare(text_source(path), 20)) == 20


def test_row_groups_bound_memory_and_change_no_value(prepare, tmp_path, monkeypatch):
    source = {"kind": "world", "domain": "pretraining"}
    whole = prepare(source, 50, 16, world=WORLD)
    monkeypatch.setattr(packing, "ROW_GROUP_TOKENS", 16 * 7)
    np.testing.assert_array_equal(prepare(source, 50, 16, world=WORLD), whole)
    metadata = pq.ParquetFile(tmp_path / "sequences.parquet").metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [7] * 7 + [1]


@pytest.mark.parametrize("skip", [0, 3, 40])
def test_documents_say_where_each_token_is_from(prepare, tokenizer_manifest, tmp_path, skip):
    source = {"kind": "world", "domain": "continual"}
    packed = prepare(source, 30, 16, world=WORLD, skip_sequences=skip).reshape(-1)
    documents = read_documents(tmp_path).to_dict("records")
    tokenizer = load_tokenizer(tokenizer_manifest.parent)
    texts = list(itertools.islice(continual_documents(World(**WORLD)), 500))
    expected, position = [], -skip * 16
    for place, text in enumerate(texts):  # token by token: which of them were written
        ids = tokenizer.encode(text)
        written = [n for n in range(position, position + len(ids)) if 0 <= n < len(packed)]
        if written:
            assert [packed[n] for n in written] == [ids[n - position] for n in written]
            expected.append((str(place), text, position, len(ids)))
        position += len(ids) + 1
    assert [(d["document_id"], d["first_token"], d["num_tokens"]) for d in documents] == [
        (place, first, num_tokens) for place, _, first, num_tokens in expected
    ]
    hashes = [hashlib.sha256(text.encode()).hexdigest() for _, text, _, _ in expected]
    assert [d["content_sha256"] for d in documents] == hashes
    assert position > len(packed)
    assert (documents[0]["first_token"] < 0) == (skip > 0)


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.txt", b"One\n\n\nTwo\nlines\n \nThree", [1, 4, 7]),
        ("a.jsonl", b'{"text": "One"}\n\n{"text": "Two"}\n', [1, 3]),
    ],
)
def test_documents_of_files_are_named_by_their_line(prepare, tmp_path, name, content, lines):
    path = tmp_path / name
    path.write_bytes(content)
    prepare(text_source(path), 1)
    named = read_documents(tmp_path)["document_id"].tolist()
    assert named == [f"{path}:{line}" for line in lines][: len(named)]
    assert len(named) >= 2


def test_parquet_documents_are_named_by_their_row(prepare, tmp_path):
    path = write_texts(tmp_path / "a.parquet", TEXTS)
    prepare(text_source(path), 7)
    named = read_documents(tmp_path)["document_id"].tolist()
    assert named[:2] == [f"{path}:1", f"{path}:2"]


def test_the_record_counts_and_hashes_the_documents(prepare, tmp_path):
    path = write_texts(tmp_path / "a.txt", TEXTS)
    with provenance.recording("prepare_corpus", {}, {}):
        prepare(text_source(path), 2)
        record = dict(provenance.current())
    documents = read_documents(tmp_path)
    assert record["num_documents"] == str(len(documents))
    joined = "".join(f"{value}\n" for value in documents["content_sha256"])
    assert record["content_sha256"] == hashlib.sha256(joined.encode()).hexdigest()
    assert record[f"sha256 of {path}"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_half_a_surrogate_pair_is_refused(prepare, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\ud800 alone"}')
    with pytest.raises(UserError, match=r"a\.jsonl:1: not valid Unicode"):
        prepare(text_source(path))


def test_same_settings_same_bytes(prepare, tmp_path):
    for name in ["one.parquet", "two.parquet"]:
        prepare({"kind": "world", "domain": "continual"}, 30, world=WORLD, output=name)
    for prefix in ["", "documents_of_"]:
        one, two = (tmp_path / f"{prefix}{name}.parquet" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


REFUSED = [
    ("none.txt", None, "none.txt: no such file"),
    ("a.txt", b"", "a.txt: no text in it"),
    ("a.txt", b"\n \n", "a.txt: no text in it"),
    ("a.txt", b"good\n\nb\xffd", "a.txt: invalid UTF-8"),
    ("a.jsonl", b"", "a.jsonl: no text in it"),
    ("a.jsonl", b'{"text": "\xff"}', "a.jsonl: invalid UTF-8"),
    ("a.jsonl", b'{"text": "good"}\n{"text": bad}', "a.jsonl:2: not JSON"),
    ("a.jsonl", b"[1]", "a.jsonl:1: not a JSON object"),
    ("a.jsonl", b'{"body": "x", "id": 3}', "a.jsonl: no column 'text'; columns are body, id"),
    ("a.jsonl", b'{"text": 3}', "a.jsonl:1: 'text' is int, not text"),
    ("a.jsonl", b'{"text": null}', "a.jsonl: no text in it"),
    ("a.jsonl", b'{"text": " "}', "a.jsonl: no text in it"),
    ("a.jsonl.gz", b'{"text": "x"}', "a.jsonl.gz: damaged"),
    ("a.jsonl.gz", gzip.compress(b"", mtime=0), "a.jsonl.gz: no text in it"),
    (
        "a.jsonl.gz",
        gzip.compress(b'{"text": "abcdefgh"}' * 99, mtime=0)[:30],
        "a.jsonl.gz: damaged",
    ),
    ("a.parquet", b"PAR1", "a.parquet: damaged"),
    ("a.txt", b"short", "the text has 0 sequences, too few for skip_sequences 1 + num_sequences 3"),
]


@pytest.mark.parametrize(("name", "content", "message"), REFUSED)
def test_bad_text_is_refused_in_one_line(prepare, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as refusal:
        prepare(text_source(tmp_path / name), skip_sequences=1)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert {path.name for path in tmp_path.iterdir()} <= {name}


def test_parquet_without_the_column_lists_its_columns(prepare, tmp_path):
    path = write_texts(tmp_path / "a.parquet", TEXTS, field="body")
    with pytest.raises(UserError, match="no column 'text'; columns are id, body"):
        prepare(text_source(path))


def test_parquet_without_rows_or_with_numbers(prepare, tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": pd.Series([], dtype=str)}).to_parquet(path)
    with pytest.raises(UserError, match="no text in it"):
        prepare(text_source(path))
    pd.DataFrame({"text": [1, 2]}).to_parquet(path)
    with pytest.raises(UserError, match=r"a\.parquet:1: 'text' is int, not text"):
        prepare(text_source(path))


def test_a_text_too_short_says_how_many_sequences_there_are(prepare, tokenizer_manifest, tmp_path):
    path = write_texts(tmp_path / "a.txt", TEXTS)
    count = len(naive(tokenizer_manifest, TEXTS, 8))
    with pytest.raises(UserError, match=f"the text has {count} sequences, too few"):
        prepare(text_source(path), count + 1)


def test_where_there_may_be_fewer_all_of_a_text_is_taken(prepare, tokenizer_manifest, tmp_path):
    path = write_texts(tmp_path / "a.txt", TEXTS)
    expected = naive(tokenizer_manifest, TEXTS, 8)
    fewer = {"may_be_fewer": True}
    np.testing.assert_array_equal(prepare(text_source(path), 512, **fewer), expected)
    assert len(read_documents(tmp_path)) == len(TEXTS)
    with pytest.raises(UserError, match="the text has 0 sequences, too few"):
        prepare(text_source(path), 512, 4096, **fewer)


def test_where_there_may_be_fewer_an_endless_text_ends(prepare):
    source = {"kind": "world", "domain": "pretraining"}
    packed = prepare(source, 20, world=WORLD, may_be_fewer=True)
    np.testing.assert_array_equal(packed, prepare(source, 20, world=WORLD))


def test_a_world_corpus_needs_a_world(prepare):
    with pytest.raises(UserError, match="world: missing"):
        prepare({"kind": "world", "domain": "pretraining"})
