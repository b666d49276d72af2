"""The token that ends a text, wherever a directory names it: as transformers, or by its id."""

import json

import pytest
from transformers import AutoTokenizer

from ke_steps import fetch_checkpoint
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.settings.checkpoints import FetchCheckpoint
from ke_steps.texts.special_tokens import find_special_tokens
from ke_steps.texts.tokenizers import load_tokenizer, read_backend
from tests.invented.models import EOS_ID, PAD_ID, VOCAB_SIZE, build_model, build_tokenizer

END, PAD = "<|endoftext|>", "<|padding|>"
CONFIG, MAP = "tokenizer_config.json", "special_tokens_map.json"
MODEL, GENERATION = "config.json", "generation_config.json"
DICT = {"content": END, "lstrip": False, "normalized": False, "rstrip": False}
DECODER = {"added_tokens_decoder": {"0": DICT | {"single_word": False, "special": True}}}
LENGTH = {"model_max_length": 1024}


def build(directory, files, model_type=None):
    """Write a tokenizer with these files beside it; return its folder."""
    build_tokenizer(directory)
    (directory / CONFIG).unlink()
    if model_type is not None:
        files = {MODEL: {"model_type": model_type}} | files
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content))
    return directory


def find(directory, **more):
    backend = read_backend(directory / "tokenizer.json")
    return find_special_tokens(directory, backend, vocab_size=VOCAB_SIZE, **more)


AS_TRANSFORMERS = {
    # where it is named: (files, model type, the token)
    "GPT-2's, nowhere": ({CONFIG: LENGTH}, "gpt2", END),
    "GPT-2's, no file at all": ({}, "gpt2", END),
    "class of the config": ({CONFIG: {"tokenizer_class": "GPTNeoXTokenizer"}}, "olmo", END),
    "class of older versions": ({CONFIG: {"tokenizer_class": "GPT2TokenizerFast"}}, "olmo", END),
    "config": ({CONFIG: LENGTH | {"eos_token": END}}, "olmo2", END),
    "config, as older versions wrote it": (
        {CONFIG: {"eos_token": DICT | {"__type": "AddedToken"}}},
        "olmo2",
        END,
    ),
    "length without end": ({CONFIG: {"model_max_length": int(1e30), "eos_token": END}}, None, END),
    "map": ({CONFIG: LENGTH, MAP: {"eos_token": END}}, "olmo2", END),
    "map, whole": ({CONFIG: LENGTH, MAP: {"eos_token": DICT}}, "olmo2", END),
    "map before config": ({CONFIG: {"eos_token": PAD}, MAP: {"eos_token": END}}, "olmo2", END),
    "config that lists its tokens before map": (
        {CONFIG: DECODER | {"eos_token": END}, MAP: {"eos_token": PAD}},
        "olmo2",
        END,
    ),
    "config before class": (
        {CONFIG: {"eos_token": PAD, "tokenizer_class": "GPT2Tokenizer"}},
        "gpt2",
        PAD,
    ),
    "tokens before ids": (
        {CONFIG: {"eos_token": END}, MODEL: {"model_type": "olmo2", "eos_token_id": PAD_ID}},
        None,
        END,
    ),
}


@pytest.mark.parametrize("where", AS_TRANSFORMERS)
def test_the_end_of_text_is_that_of_transformers(tmp_path, where):
    files, model_type, token = AS_TRANSFORMERS[where]
    directory = build(tmp_path, files, model_type)
    assert find(directory)["eos_token"] == token
    if model_type is None and MODEL not in files:
        (directory / MODEL).write_text(json.dumps({"model_type": "olmo2"}))
    assert AutoTokenizer.from_pretrained(directory).eos_token == token


@pytest.mark.parametrize(
    "files",
    [
        {MODEL: {"eos_token_id": PAD_ID}},
        {MODEL: {"eos_token_id": [PAD_ID, EOS_ID]}},
        {MODEL: {"eos_token_id": None}, GENERATION: {"eos_token_id": PAD_ID}},
        {MODEL: {"eos_token_id": PAD_ID}, GENERATION: {"eos_token_id": [EOS_ID, PAD_ID]}},
        {CONFIG: LENGTH, MODEL: {"eos_token_id": 10**6}, GENERATION: {"eos_token_id": PAD_ID}},
        {CONFIG: {"tokenizer_class": "LlamaTokenizer"}, MODEL: {"eos_token_id": PAD_ID}},
        {CONFIG: {"eos_token": None}, MAP: {}, MODEL: {"eos_token_id": PAD_ID}},
    ],
)
def test_where_no_token_is_named_its_id_counts(tmp_path, files):
    assert find(build(tmp_path, files))["eos_token"] == PAD


def test_the_class_counts_where_transformers_no_longer_asks_it(tmp_path):
    directory = build(tmp_path, {CONFIG: {"tokenizer_class": "GPT2TokenizerFast"}}, "olmo2")
    assert find(directory)["eos_token"] == END


@pytest.mark.parametrize(
    "name", ["NoSuchTokenizer", "pipeline", "OlmoConfig", "PreTrainedTokenizerFast", 3]
)
def test_a_class_that_is_none_names_no_token(tmp_path, name):
    directory = build(tmp_path, {CONFIG: {"tokenizer_class": name}}, "olmo2")
    with pytest.raises(UserError, match="eos_token is missing"):
        find(directory)


def test_the_study_has_the_first_word(tmp_path):
    directory = build(tmp_path, {CONFIG: {"eos_token": END}, MODEL: {"eos_token_id": EOS_ID}})
    assert find(directory, end_of_text=PAD)["eos_token"] == PAD
    assert find(build(tmp_path / "none", {}), end_of_text=END)["eos_token"] == END


@pytest.mark.parametrize(
    ("files", "more", "says"),
    [
        ({}, {}, "name the token that ends a text in models.<name>.end_of_text"),
        ({CONFIG: LENGTH}, {}, "eos_token is missing in tokenizer_config.json and special_tokens"),
        ({MODEL: {"eos_token_id": True}}, {}, "eos_token is missing"),
        ({MODEL: {"eos_token_id": -1}}, {}, "eos_token is missing"),
        ({MODEL: {"eos_token_id": 10**12}}, {}, "eos_token is missing"),
        ({MODEL: {"eos_token_id": []}}, {}, "eos_token is missing"),
        ({CONFIG: {"eos_token": "<fin>"}}, {}, "tokenizer_config.json: eos_token names '<fin>'"),
        ({MAP: {"eos_token": "<fin>"}}, {}, "special_tokens_map.json: eos_token names '<fin>'"),
        ({CONFIG: {"eos_token": END}}, {"end_of_text": "x" * 9}, "end_of_text names 'xxxxxxxxx'"),
    ],
)
def test_an_end_that_is_not_there_is_refused_in_one_line(tmp_path, files, more, says):
    with pytest.raises(UserError) as refusal:
        find(build(tmp_path, files), **more)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_contradictions_are_said(tmp_path):
    files = {CONFIG: {"eos_token": END}, MODEL: {"eos_token_id": PAD_ID}}
    with provenance.recording("fetch_checkpoint", {}, {}):
        find(build(tmp_path / "two", files))
        two = provenance.current()["end_of_text"]
    assert two == (
        f"{END!r} (tokenizer_config.json: eos_token), not {PAD!r} (config.json: eos_token_id)"
    )
    with provenance.recording("fetch_checkpoint", {}, {}):
        find(build(tmp_path / "one", files | {MODEL: {"eos_token_id": EOS_ID}}))
        one = provenance.current()["end_of_text"]
    assert one == f"{END!r} (tokenizer_config.json: eos_token)"


@pytest.mark.parametrize(
    ("files", "more"),
    [
        ({CONFIG: LENGTH}, {}),
        ({}, {}),
        ({CONFIG: LENGTH, MAP: {"eos_token": END, "pad_token": PAD}}, {}),
        ({CONFIG: LENGTH | {"eos_token": PAD}}, {"end_of_text": END}),
    ],
)
def test_a_checkpoint_names_the_tokens_that_were_found(tmp_path, files, more):
    model = build_model("gpt2")
    model.save_pretrained(tmp_path / "source")
    source = build(tmp_path / "source", files)
    settings = {"source": {"kind": "directory", "path": str(source)}, "step": 0} | more
    manifest = tmp_path / "out/manifest.json"
    fetch_checkpoint.run(output=manifest, settings=FetchCheckpoint.model_validate(settings))
    tokenizer = load_tokenizer(manifest.parent)
    assert tokenizer.eos_token_id == EOS_ID
    assert tokenizer.pad_token_id == (PAD_ID if MAP in files else EOS_ID)
    assert AutoTokenizer.from_pretrained(manifest.parent).eos_token == END
    if CONFIG in files:
        config = json.loads((manifest.parent / CONFIG).read_text())
        assert config["model_max_length"] == 1024
