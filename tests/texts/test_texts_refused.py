"""Texts, token files and new knowledge that cannot be used: refused before a GPU job needs them."""

import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.invented.command_line import EXTRACTION, call, tree
from tests.invented.models import MAX_LENGTH_TOKENS, build_checkpoint, build_sequences

POEM = b'{"text": "Mara Velin was born in Orsk."}\n'


def parquet(**columns):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


TEXTS = parquet(text=["Mara Velin was born in Orsk."] * 50)

BAD_TEXTS = {
    # what is wrong: (name of the file, its content, what the line says)
    "missing": ("a.txt", None, "a.txt: no such file"),
    "empty": ("a.txt", b"", "a.txt: no text in it"),
    "blank": ("a.txt", b"\n \t\n\n", "a.txt: no text in it"),
    "one token": ("a.txt", b"a", "the text has 0 sequences, too few for skip_sequences 0"),
    "invalid UTF-8": ("a.txt", b"good\n\nb\xffd", "a.txt: invalid UTF-8"),
    "UTF-16": ("a.txt", "text".encode("utf-16"), "a.txt: invalid UTF-8"),
    "unknown suffix": ("a.doc", b"x", "a.doc'; valid endings are .txt, .jsonl, .ndjson"),
    "a pickle": ("a.pkl", b"\x80\x04.", "unknown kind of text file"),
    "JSON lines: empty": ("a.jsonl", b"", "a.jsonl: no text in it"),
    "JSON lines: no JSON": ("a.jsonl", POEM + b"{", "a.jsonl:2: not JSON"),
    "JSON lines: no object": ("a.jsonl", b"[1]", "a.jsonl:1: not a JSON object"),
    "JSON lines: nested without end": ("a.jsonl", b"[" * 10**5, "a.jsonl:1: not JSON"),
    "JSON lines: another column": (
        "a.jsonl",
        b'{"body": "x"}',
        "no column 'text'; columns are body",
    ),
    "JSON lines: a number": ("a.jsonl", b'{"text": 3}', "a.jsonl:1: 'text' is int, not text"),
    "JSON lines: null": ("a.jsonl", b'{"text": null}', "a.jsonl: no text in it"),
    "JSON lines: a list": ("a.jsonl", b'{"text": ["x"]}', "a.jsonl:1: 'text' is list, not text"),
    "JSON lines: no words": ("a.jsonl", b'{"text": " "}', "a.jsonl: no text in it"),
    "JSON lines: invalid UTF-8": ("a.jsonl", b'{"text": "\xff"}', "a.jsonl: invalid UTF-8"),
    "JSON lines: half a surrogate": ("a.jsonl", b'{"text": "\\ud800"}', "not valid Unicode"),
    "gzip: not compressed": ("a.jsonl.gz", POEM, "a.jsonl.gz: damaged"),
    "gzip: truncated": ("a.jsonl.gz", gzip.compress(POEM * 99)[:-9], "a.jsonl.gz: damaged"),
    "gzip: of nothing": ("a.jsonl.gz", gzip.compress(b""), "a.jsonl.gz: no text in it"),
    "Parquet: truncated": ("a.parquet", TEXTS[:-7], "a.parquet: damaged"),
    "Parquet: empty": ("a.parquet", b"", "a.parquet: damaged"),
    "Parquet: text": ("a.parquet", POEM, "a.parquet: damaged"),
    "Parquet: another column": (
        "a.parquet",
        parquet(body=["x"]),
        "no column 'text'; columns are body",
    ),
    "Parquet: numbers": ("a.parquet", parquet(text=[1]), "a.parquet:1: 'text' is int, not text"),
    "Parquet: nulls": ("a.parquet", parquet(text=pa.nulls(2)), "a.parquet: no text in it"),
    "Parquet: no rows": ("a.parquet", parquet(text=pa.array([], pa.string())), "no text in it"),
}

SIXTEEN = np.arange(2, 66, dtype="<u2").tobytes() + b"\0\0"
BAD_TOKENS = {
    "missing": (None, "a.bin: no such file"),
    "empty": (b"", "holds 0 tokens, fewer than the 16"),
    "odd length": (SIXTEEN + b"\1", "131 bytes are not a whole number of uint16"),
    "too short": (SIXTEEN[:20], "holds 10 tokens, fewer than the 16"),
    "beyond the vocabulary": (
        np.full(64, 60_000, "<u2").tobytes(),
        "token id 60000 is outside the tokenizer's vocabulary of 320",
    ),
    "a NumPy header": (b"\x93NUMPY" + SIXTEEN, "has a NumPy header; raw token ids are needed"),
}


@pytest.fixture
def prepare(tmp_path, tokenizer_manifest):
    """Return a function that runs the command and checks that it leaves nothing."""

    def prepare(source, length=8, tokenizer=tokenizer_manifest):
        before = tree(tmp_path)
        settings = {"source": source, "num_sequences": 2, "sequence_length_tokens": length}
        line = call(
            "prepare_corpus",
            settings,
            tokenizer=tokenizer,
            output_sequences=tmp_path / "results/prepare_corpus/m/c/sequences.parquet",
            output_documents=tmp_path / "results/prepare_corpus/m/c/documents.parquet",
            record=tmp_path / "results/logs/prepare_corpus/m/c/record.json",
        )
        assert tree(tmp_path) == before
        return line

    return prepare


@pytest.mark.parametrize("what", BAD_TEXTS)
def test_a_bad_text_is_refused_in_one_line(prepare, tmp_path, what):
    name, content, says = BAD_TEXTS[what]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    line = prepare({"kind": "text", "paths": [str(tmp_path / name)]})
    assert line is not None
    assert says in line


def test_a_folder_of_texts_is_refused_in_one_line(prepare, tmp_path):
    (tmp_path / "a.txt").mkdir()
    assert "a.txt: no such file" in prepare({"kind": "text", "paths": [str(tmp_path / "a.txt")]})


@pytest.mark.parametrize("what", BAD_TOKENS)
def test_a_bad_token_file_is_refused_in_one_line(prepare, tmp_path, what):
    content, says = BAD_TOKENS[what]
    path = tmp_path / "a.bin"
    if content is not None:
        path.write_bytes(content)
    line = prepare({"kind": "token_file", "location": str(path), "dtype": "uint16"})
    assert line is not None
    assert says in line


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_sequences_beyond_the_models_positions_are_refused(prepare, tmp_path, family):
    """Before a GPU is asked for: the corpus is packed by a job that needs none."""
    manifest = build_checkpoint(tmp_path / family, family)
    (tmp_path / "a.txt").write_bytes(b"Mara Velin was born in Orsk. " * 200)
    source = {"kind": "text", "paths": [str(tmp_path / "a.txt")]}
    line = prepare(source, MAX_LENGTH_TOKENS + 1, manifest)
    assert "corpora.c.sequence_length_tokens: 65 exceeds the 64 positions of" in line
    assert f"{family}/config.json; lower it" in line


def entry(**changes):
    """Return one passage as the files have it; a change to None removes the field."""
    fields = {"train_context": "Mara was born.", "paraphrases": ["Born was Mara."]}
    for prefix in ("mem", "gen", "hard_gen"):
        fields |= {f"{prefix}_input": ["Mara was", "So was"], f"{prefix}_target": ["born", "she"]}
    return {key: value for key, value in (fields | changes).items() if value is not None}


BAD_KNOWLEDGE = {
    "missing": (None, "p.json: not a readable JSON file in UTF-8 (No such file"),
    "empty": ("", "p.json: not a readable JSON file in UTF-8"),
    "truncated": (json.dumps([entry()])[:-5], "p.json: not a readable JSON file in UTF-8"),
    "invalid UTF-8": (b'["\xff"]', "p.json: not a readable JSON file in UTF-8"),
    "nested without end": ("[" * 10**5, "p.json: not a readable JSON file in UTF-8"),
    "JSON lines": (json.dumps(entry()) + "\n" + json.dumps(entry()), "not a readable JSON file"),
    "an object": (json.dumps(entry()), "p.json: not a JSON list of passages"),
    "no passage": ("[]", "1 passages are asked for, but"),
    "a passage is text": ('["text"]', "passage 0: "),
    "a passage is null": ("[null]", "passage 0: "),
    "no context": ([entry(train_context=None)], "passage 0: train_context Field required"),
    "an empty context": ([entry(train_context="")], "passage 0: train_context is empty"),
    "a context of numbers": ([entry(train_context=3)], "passage 0: train_context"),
    "paraphrases are text": ([entry(paraphrases="one")], "passage 0: paraphrases"),
    "no probe list": ([entry(mem_target=None)], "passage 0: mem_target Field required"),
    "an empty probe list": ([entry(mem_input=[], mem_target=[])], "passage 0: mem_input"),
    "uneven probe lists": ([entry(gen_target=["one"])], "gen_input has 2 entries, gen_target 1"),
    "an empty target": ([entry(hard_gen_target=["a", " "])], "hard_gen_target[1] is empty"),
    "a target is a number": ([entry(mem_target=["a", 3])], "mem_target[1] "),
    "a target is a list": ([entry(mem_target=["a", ["b"]])], "mem_target[1] "),
    "a space before a target": ([entry(mem_target=["a", " b"])], "in white space: ' b'"),
    "half a surrogate": ([entry(train_context="a\ud800")], "p.json: passage 0: train_context"),
}


@pytest.mark.parametrize("what", BAD_KNOWLEDGE)
def test_bad_knowledge_is_refused_in_one_line(tmp_path, what):
    content, says = BAD_KNOWLEDGE[what]
    (tmp_path / "o.json").write_text(json.dumps([entry()]))
    if content is not None:
        text = json.dumps(content) if isinstance(content, list) else content
        (tmp_path / "p.json").write_bytes(text.encode() if isinstance(text, str) else text)
    before = tree(tmp_path)
    source = {
        "kind": "fictional_knowledge",
        "paraphrase_path": str(tmp_path / "p.json"),
        "once_path": str(tmp_path / "o.json"),
    }
    line = call(
        "prepare_knowledge",
        {"source": source, "num_paraphrase_passages": 1, "num_once_passages": 1},
        output_passages=tmp_path / "results/passages.parquet",
        output_probes=tmp_path / "results/probes.parquet",
    )
    assert line is not None
    assert says in line
    assert tree(tmp_path) == before


BAD_TABLES = {
    "other columns": (parquet(passage_id=[1], words=["x"]), "columns are ['passage_id', 'words']"),
    "other types": (
        parquet(passage_id=["a"], condition=["b"], text_index=[0], text=["c"]),
        "text_index: int64 instead of int32",
    ),
    "no Parquet": (POEM, "not a readable Parquet file"),
    "truncated": (TEXTS[:-1], "not a readable Parquet file"),
    "a pickle": (pd.to_pickle, "not a readable Parquet file"),
}


@pytest.mark.parametrize("what", BAD_TABLES)
def test_a_bad_table_is_refused_in_one_line(tmp_path, what):
    content, says = BAD_TABLES[what]
    path = tmp_path / "passages.parquet"
    if callable(content):
        content(pd.DataFrame({"text": ["x"]}), path)
    else:
        path.write_bytes(content)
    settings = {"num_steps": 4, "num_epochs": 1, "num_injections": 1, "seed": 0}
    settings |= {"injection_interval_steps": 2, "batch_size_sequences": 2}
    output = tmp_path / "schedule.parquet"
    line = call("schedule_injections", settings, passages=path, output=output)
    assert f"{path}: " in line
    assert says in line
    assert not output.exists()


def extract(folder, sequences, **changes):
    return call(
        "extract_coefficients",
        EXTRACTION | changes,
        checkpoint=build_checkpoint(folder / "model"),
        sequences=sequences,
        output_coefficients=folder / "results/coefficients.parquet",
        output_token_entropies=folder / "results/entropies.parquet",
    )


def test_tokens_of_another_vocabulary_are_refused(tmp_path):
    ids = np.full((8, 16), 320, np.int32)
    line = extract(tmp_path, build_sequences(tmp_path / "s.parquet", input_ids=ids))
    assert "token id 320 is outside the model's vocabulary of 320" in line
    assert not list((tmp_path / "results").iterdir())


def test_negative_tokens_are_refused(tmp_path):
    ids = np.full((8, 16), -1, np.int32)
    line = extract(tmp_path, build_sequences(tmp_path / "s.parquet", input_ids=ids))
    assert "token id -1 is outside the model's vocabulary of 320" in line


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("{", "--settings: "),
        ("[]", "--settings: "),
        ('{"step": 5.5}', "--settings: step: Input should be a valid integer"),
        ("{}", "--settings: step: Field required"),
        ('{"step": 5, "x": 1}', "--settings: x: Extra inputs are not permitted"),
    ],
)
def test_bad_settings_of_a_step_are_refused_in_one_line(tmp_path, settings, says, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda value: settings)
    line = call("keep_checkpoint", None, training=tmp_path / "t", output=tmp_path / "o")
    assert says in line
