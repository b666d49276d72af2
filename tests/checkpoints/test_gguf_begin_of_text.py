"""Texts of a GGUF file's model begin as the file says, unless the study says otherwise."""

import pytest
from transformers import AutoTokenizer

from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.fetching import fetch_local
from tests.invented.gguf import write_gguf
from tests.invented.models import EOS_ID, build_model, build_tokenizer


@pytest.mark.parametrize(
    ("adds_bos", "setting", "expected"),
    [
        (True, "tokenizer", (EOS_ID,)),
        (True, "never", ()),
        (False, "tokenizer", ()),
        (False, "always", (EOS_ID,)),
        (None, "tokenizer", ()),
    ],
)
def test_the_file_s_flag_is_the_tokenizer_s_own_way(tmp_path, adds_bos, setting, expected):
    original = build_tokenizer(tmp_path / "original")
    path = write_gguf(tmp_path / "a.gguf", build_model("llama"), original, adds_bos=adds_bos)
    manifest = fetch_local(path, tmp_path / "out" / "manifest.json", "gguf")
    tokenizer = load_tokenizer(manifest.parent, setting)
    assert tokenizer.begin_ids == expected
    if setting == "tokenizer":
        theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)("a b c")["input_ids"]
        assert [*tokenizer.begin_ids, *tokenizer.encode("a b c")] == theirs
