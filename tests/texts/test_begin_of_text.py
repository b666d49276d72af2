"""What a text begins with is what transformers begins it with, or what the study says."""

import json

import pytest
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer

from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented import tokenizers as invented
from tests.invented.models import PAD_ID, build_tokenizer
from tests.invented.tokenizers import BOS_ID, EOS, EOS_ID

KINDS = {
    "byte level": (build_tokenizer, ()),
    "byte level that begins": (invented.beginning, (PAD_ID,)),
    "marked by a normaliser": (invented.lettered, (BOS_ID,)),
    "marked by a pre-tokeniser": (lambda d: invented.lettered(d, "metaspace"), (BOS_ID,)),
}


def configure(directory, **changes):
    """Change ``tokenizer_config.json``."""
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(("build", "expected"), KINDS.values(), ids=KINDS)
def test_by_default_it_is_what_the_tokenizer_itself_does(tmp_path, build, expected):
    tokenizer = load_tokenizer(build(tmp_path), "tokenizer")
    assert tokenizer.begin_ids == expected
    theirs = AutoTokenizer.from_pretrained(tmp_path)("a b c")["input_ids"]
    assert [*tokenizer.begin_ids, *tokenizer.encode("a b c")] == theirs


@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize(("build", "expected"), KINDS.values(), ids=KINDS)
def test_the_post_processor_outweighs_add_bos_token(tmp_path, build, expected, adds):
    configure(build(tmp_path), add_bos_token=adds, bos_token="<|endoftext|>")
    assert load_tokenizer(tmp_path, "tokenizer").begin_ids == expected
    theirs = AutoTokenizer.from_pretrained(tmp_path)("a b c")["input_ids"]
    assert tuple(theirs[: len(expected)]) == expected


@pytest.mark.parametrize(("build", "expected"), KINDS.values(), ids=KINDS)
def test_never_is_none(tmp_path, build, expected):
    assert load_tokenizer(build(tmp_path), "never").begin_ids == ()


def test_always_takes_the_token_that_is_named_where_none_is_added(tmp_path):
    configure(build_tokenizer(tmp_path), bos_token={"content": "<|endoftext|>"})
    assert load_tokenizer(tmp_path, "tokenizer").begin_ids == ()
    assert load_tokenizer(tmp_path, "always").begin_ids == (0,)


def test_always_is_what_the_tokenizer_adds_where_it_adds_one(tmp_path):
    configure(invented.lettered(tmp_path), bos_token=None)
    assert load_tokenizer(tmp_path, "always").begin_ids == (BOS_ID,)


@pytest.mark.parametrize("named", [{}, {"bos_token": None}, {"bos_token": "<begin>"}])
def test_always_without_such_a_token_is_refused_in_one_line(tmp_path, named):
    configure(build_tokenizer(tmp_path), **named)
    with pytest.raises(UserError) as refusal:
        load_tokenizer(tmp_path, "always")
    line = str(refusal.value)
    assert line.startswith("models.<name>.begin_of_text: 'always', but ")
    assert line.endswith("say tokenizer or never")
    assert "\n" not in line


def test_what_the_tokenizer_puts_after_a_text_is_not_put_before_it(tmp_path):
    invented.lettered(tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", special_tokens=[(EOS, EOS_ID)]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path, "tokenizer").begin_ids == ()


@pytest.mark.parametrize(("setting", "noted"), [("tokenizer", "<s>"), ("never", "none")])
def test_the_provenance_has_it(tmp_path, setting, noted):
    invented.lettered(tmp_path)
    with provenance.recording("encode_probes", {}, {}):
        load_tokenizer(tmp_path)
        assert "begin_of_text" not in provenance.current()
        load_tokenizer(tmp_path, setting)
        assert provenance.current()["begin_of_text"] == noted
