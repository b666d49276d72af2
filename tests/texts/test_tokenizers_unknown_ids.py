"""Added tokens beyond the embedding: taken, and refused where a text has one."""

import json

import pytest

from ke_steps import encode_probes, prepare_corpus
from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.text_schemas import PROBES
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import EncodeProbes
from ke_steps.settings.texts import PrepareCorpus
from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.command_line import call
from tests.invented.models import EOS_ID, SENTENCES, VOCAB_SIZE, build_model, build_tokenizer

IMAGE, WORD = "<image>", "qqq"
"""Ids 320 and 321: one special, which no text has, and one that a text can have."""


def add_tokens(directory, **config):
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text())
    for offset, (token, is_special) in enumerate({IMAGE: True, WORD: False}.items()):
        content["added_tokens"].append(
            content["added_tokens"][0]
            | {"id": VOCAB_SIZE + offset, "content": token, "special": is_special}
        )
    path.write_text(json.dumps(content))
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))


def fetch(tmp_path, **config):
    source = tmp_path / "source"
    build_model("gemma3_text").save_pretrained(source)
    add_tokens(build_tokenizer(source), **config)
    manifest = tmp_path / "out/manifest.json"
    settings = {"source": {"kind": "directory", "path": str(source)}, "step": 0}
    return manifest, call("fetch_checkpoint", settings, output=manifest)


@pytest.fixture
def manifest(tmp_path):
    manifest, line = fetch(tmp_path)
    assert line is None
    return manifest


def test_texts_without_it_are_taken(manifest):
    tokenizer = load_tokenizer(manifest.parent)
    assert tokenizer.vocab_size == VOCAB_SIZE
    assert all(max(ids) < VOCAB_SIZE for ids in tokenizer.encode_batch([*SENTENCES, IMAGE]))
    assert tokenizer.encode("") == []


REFUSED = r"a text has the token 'qqq', whose id 321 is beyond the 320 rows"


def test_a_text_with_it_is_refused(manifest):
    tokenizer = load_tokenizer(manifest.parent)
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch(["a", text])):
        with pytest.raises(UserError, match=REFUSED) as refusal:
            encode("Mara qqq")
        assert "\n" not in str(refusal.value)


def test_a_corpus_with_it_is_refused(tmp_path, manifest):
    (tmp_path / "a.txt").write_text("Mara Velin was born in qqq and works as a glass blower.")
    source = {"kind": "text", "paths": [str(tmp_path / "a.txt")]}
    settings = {"source": source, "num_sequences": 1, "sequence_length_tokens": 8}
    with pytest.raises(UserError, match=REFUSED):
        prepare_corpus.run(
            tokenizer=manifest,
            output_sequences=tmp_path / "sequences.parquet",
            output_documents=tmp_path / "documents.parquet",
            settings=PrepareCorpus.model_validate(settings),
        )


def test_a_token_file_with_it_is_refused(tmp_path, manifest):
    (tmp_path / "ids.bin").write_bytes(b"\x41\x01" * 16)  # 321
    source = {"kind": "token_file", "location": str(tmp_path / "ids.bin"), "dtype": "uint16"}
    settings = {"source": source, "num_sequences": 1, "sequence_length_tokens": 8}
    with pytest.raises(UserError, match="token id 321 is outside the tokenizer's vocabulary of 32"):
        prepare_corpus.run(
            tokenizer=manifest,
            output_sequences=tmp_path / "sequences.parquet",
            output_documents=tmp_path / "documents.parquet",
            settings=PrepareCorpus.model_validate(settings),
        )


def test_a_probe_with_it_is_refused(tmp_path, manifest):
    row = {"probe_id": 0, "passage_id": 0, "condition": "once", "kind": "semantic"}
    write_table(tmp_path / "p.parquet", [row | {"input": "Mara was", "target": "qqq"}], PROBES)
    with pytest.raises(UserError, match=REFUSED):
        encode_probes.run(
            tokenizer=manifest,
            probes=tmp_path / "p.parquet",
            output=tmp_path / "encoded.parquet",
            settings=EncodeProbes(),
        )


def test_a_pad_token_beyond_the_embedding_gives_way_to_the_end_of_text(tmp_path):
    manifest, line = fetch(tmp_path, pad_token=IMAGE)
    assert line is None
    assert load_tokenizer(manifest.parent).pad_token_id == EOS_ID


def test_an_end_of_text_beyond_the_embedding_is_refused(tmp_path):
    _, line = fetch(tmp_path, eos_token=IMAGE)
    assert f"names {IMAGE!r}, which is no token of tokenizer.json with a row" in line
