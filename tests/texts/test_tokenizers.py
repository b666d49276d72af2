"""Tokenising without transformers."""

import json
from dataclasses import replace

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer

from ke_steps.job.errors import UserError
from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.models import EOS_ID, PAD_ID, SENTENCES, build_tokenizer


def test_ids_equal_those_of_transformers(tmp_path):
    tokenizer = load_tokenizer(build_tokenizer(tmp_path))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for sentence in SENTENCES:
        assert tokenizer.encode(sentence) == theirs.encode(sentence, add_special_tokens=False)
    assert tokenizer.encode_batch(SENTENCES) == [tokenizer.encode(s) for s in SENTENCES]
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (EOS_ID, PAD_ID)


def test_a_text_that_spells_a_special_token_does_not_end_there(tmp_path):
    tokenizer = load_tokenizer(build_tokenizer(tmp_path))
    ids = tokenizer.encode("The river <|endoftext|> flows.")
    assert EOS_ID not in ids
    assert (
        tokenizer.backend.decode(ids, skip_special_tokens=False) == "The river <|endoftext|> flows."
    )


def test_a_token_keeps_its_space(tmp_path):
    tokenizer = load_tokenizer(build_tokenizer(tmp_path))
    ids = tokenizer.encode(SENTENCES[0])
    assert "".join(tokenizer.decode(token) for token in ids) == SENTENCES[0]
    first_byte = tokenizer.encode("é")[0]
    assert tokenizer.decode(first_byte) == "\ufffd"
    assert tokenizer.decode(EOS_ID) == "<|endoftext|>"

    # sentencepiece's decoder drops the space that a text begins with
    backend = Tokenizer(models.WordLevel({"▁Paris": 0, "is": 1}))
    backend.decoder = decoders.Metaspace()
    assert backend.decode([0]) == "Paris"
    spaced = replace(tokenizer, backend=backend)
    assert (spaced.decode(0), spaced.decode(1)) == (" Paris", "is")


def test_without_a_pad_token_the_end_of_text_pads(tmp_path):
    build_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": {"content": "<|endoftext|>"}})
    )
    assert load_tokenizer(tmp_path).pad_token_id == EOS_ID


@pytest.mark.parametrize(
    ("config", "says"), [({}, "eos_token is missing"), ({"eos_token": "<end>"}, "unknown")]
)
def test_a_tokenizer_without_an_end_is_refused(tmp_path, config, says):
    build_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=says):
        load_tokenizer(tmp_path)


def test_a_missing_tokenizer_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"tokenizer\.json is missing"):
        load_tokenizer(tmp_path)
