"""Checkpoints that no GPU job should meet: each refused by ``fetch_checkpoint``, which needs none.

Every one ends the command with a single line and status 1, runs no code and leaves no file.
"""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.invented.command_line import call, tree
from tests.invented.models import build_model, build_tokenizer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MARKER = "code_was_run"


class CreatesMarker:
    """What a malicious pickle holds: unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def edit_weights(source, change, name=WEIGHTS):
    tensors = load_file(source / name)
    change(tensors)
    save_file(tensors, source / name, metadata={"format": "pt"})


def edit_json(source, name="config.json", **changes):
    content = json.loads((source / name).read_text()) | changes
    content = {key: value for key, value in content.items() if value is not REMOVE}
    (source / name).write_text(json.dumps(content))


REMOVE = object()


def write_header(source, header, data=b""):
    text = json.dumps(header).encode()
    (source / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data)


def put(name, content):
    """Return a damage: a file gets another content."""
    mode = Path.write_bytes if isinstance(content, bytes) else Path.write_text
    return lambda source: mode(source / name, content)


def remove(*names):
    return lambda source: [(source / name).unlink() for name in names]


def cut(name, keep):
    return lambda source: (source / name).write_bytes((source / name).read_bytes()[:keep])


def config(**changes):
    return lambda source: edit_json(source, **changes)


def tensors(change):
    return lambda source: edit_weights(source, change)


def rename(name):
    return lambda source: (source / WEIGHTS).rename(source / name)


def pickled(source):
    (source / WEIGHTS).unlink()
    marker = CreatesMarker(source.parent / MARKER)
    (source / "pytorch_model.bin").write_bytes(pickle.dumps(marker))


def shard(source):
    """Store the weights in shards; return their names."""
    build_model("llama").save_pretrained(source / "again", max_shard_size="50KB")
    (source / WEIGHTS).unlink()
    for path in (source / "again").glob("model*"):
        shutil.move(path, source / path.name)
    shutil.rmtree(source / "again")
    names = sorted(path.name for path in source.glob("*.safetensors"))
    assert len(names) > 1
    return names


def missing_shard(source):
    (source / shard(source)[1]).unlink()


def truncated_shard(source):
    cut(shard(source)[1], -10)(source)


def broken_shard(source):
    def break_one(tensors):
        tensors[min(tensors)].view(-1)[0] = np.nan

    edit_weights(source, break_one, shard(source)[-1])


def twice(source):
    """Put one tensor into a second shard, with other values."""
    first, *_, last = shard(source)
    (name, tensor), *_ = load_file(source / first).items()
    edit_weights(source, lambda tensors: tensors.update({name: tensor + 1}), last)


def tied(source):
    """Leave a head of its own beside the embedding that the config makes the head."""
    edit_json(source, tie_word_embeddings=True)


def another_family(family, change, **overrides):
    """Return a damage: the model is another, and its tensors are changed."""

    def damage(source):
        build_model(family, **overrides).save_pretrained(source)
        edit_weights(source, change)

    return damage


def index_of(names):
    def damage(source):
        shard(source)
        first, *_ = content = json.loads((source / INDEX).read_text())["weight_map"]
        edit_json(source, INDEX, weight_map=names(content, first))

    return damage


def own_code(architecture):
    """Return a damage: a config that names code of its own, which creates a file when run."""

    def damage(source):
        auto_map = {
            "AutoConfig": "configuration_x.XConfig",
            "AutoModelForCausalLM": "modeling_x.XForCausalLM",
        }
        edit_json(source, architectures=[architecture], model_type="x", auto_map=auto_map)
        edit_json(source, "tokenizer_config.json", auto_map={"AutoTokenizer": ["t.T", None]})
        code = f"import pathlib; pathlib.Path({str(source.parent / MARKER)!r}).touch()\n"
        for name in ("configuration_x.py", "modeling_x.py", "t.py"):
            (source / name).write_text(code)

    return damage


def names_no_end(damage):
    """Return a damage that also takes the ids of the end of text out of the model's files."""

    def both(source):
        damage(source)
        for name in ("config.json", "generation_config.json"):
            edit_json(source, name, eos_token_id=REMOVE)

    return both


def weights_are_a_folder(source):
    (source / WEIGHTS).unlink()
    (source / WEIGHTS).mkdir()


def weights_lead_nowhere(source):
    (source / WEIGHTS).unlink()
    (source / WEIGHTS).symlink_to(source / "gone")


UP = "model.layers.1.mlp.up_proj.weight"
EMBEDDING = "model.embed_tokens.weight"
EXPERT = "model.layers.1.block_sparse_moe.experts.{}.{}.weight"
ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

BAD = {
    # what is wrong: (damage, what the line says)
    "weights: a malicious pickle": (
        pickled,
        "pytorch_model.bin: not a readable file of torch.save",
    ),
    "weights: another pickle": (rename("model.pt"), "model.pt is a pickle, which can run code"),
    "weights: none": (remove(WEIGHTS), "neither model.safetensors nor model.safetensors.index"),
    "weights: empty": (put(WEIGHTS, b""), f"{WEIGHTS}: truncated, or not a safetensors file"),
    "weights: truncated": (cut(WEIGHTS, -100), f"{WEIGHTS}: truncated: "),
    "weights: cut in the header": (cut(WEIGHTS, 50), f"{WEIGHTS}: truncated, or not"),
    "weights: no safetensors": (put(WEIGHTS, b"\x04" + b"\0" * 7 + b"abcd"), "not a safetensors"),
    "weights: header is a list": (lambda s: write_header(s, [1]), "not a safetensors file"),
    "weights: tensor without place": (lambda s: write_header(s, {"a": {}}), "not a safetensors"),
    "weights: shape and bytes differ": (
        lambda s: write_header(s, {"a": ONE | {"shape": [3]}}, b"\0" * 8),
        "model.safetensors: not a safetensors file",
    ),
    "weights: unknown dtype": (
        lambda s: write_header(s, {"a": ONE | {"dtype": "F33"}}, b"\0" * 8),
        "model.safetensors: not a safetensors file",
    ),
    "weights: a folder": (weights_are_a_folder, "model.safetensors"),
    "weights: a link to nothing": (weights_lead_nowhere, "model.safetensors"),
    "weights: a shard is missing": (missing_shard, "which is missing: get that file"),
    "weights: a shard is truncated": (truncated_shard, "safetensors: truncated: "),
    "weights: NaN in a shard": (broken_shard, "holds NaN or Inf"),
    "index: leads outside": (
        index_of(lambda names, first: names | {first: "../x.safetensors"}),
        "names '../x.safetensors', which is not a file beside it; get it again",
    ),
    "index: an absolute path": (
        index_of(lambda names, first: names | {first: "/etc/passwd"}),
        "names '/etc/passwd', which is not a file beside it; get it again",
    ),
    "index: of no tensors": (index_of(lambda names, first: {}), "has no weight_map of tensors"),
    "index: a list": (index_of(lambda names, first: [first]), "has no weight_map of tensors"),
    "index: names a number": (index_of(lambda names, first: names | {first: 3}), "names 3, which"),
    "values: NaN": (tensors(lambda t: t[UP].view(-1)[5].fill_(np.nan)), f"{UP} holds NaN or Inf"),
    "values: Inf": (tensors(lambda t: t["model.norm.weight"][2].fill_(np.inf)), "NaN or Inf"),
    "values: of 8 bits": (
        tensors(lambda t: t.update({UP: t[UP].to(torch.float8_e4m3fn)})),
        f"tensor {UP} is of torch.float8_e4m3fn: quantised weights are not read",
    ),
    "values: whole numbers": (
        tensors(lambda t: t.update({UP: t[UP].to(torch.int8)})),
        f"tensor {UP} is of torch.int8: quantised weights are not read",
    ),
    "tensors: one is missing": (tensors(lambda t: t.pop(UP)), f"tensor {UP} is missing"),
    "tensors: one too many": (
        tensors(lambda t: t.update({"model.extra.weight": torch.ones(2)})),
        "model.extra.weight has no place in LlamaForCausalLM",
    ),
    "tensors: of another shape": (
        tensors(lambda t: t.update({UP: torch.ones(8, 8)})),
        f"tensor {UP} is (8, 8), config.json says (64, 32)",
    ),
    "tensors: one in two shards": (twice, ", too; get the files again"),
    "tensors: a head of its own": (
        tied,
        "tensor lm_head.weight is not model.embed_tokens.weight, but tie_word_embeddings",
    ),
    "tensors: no head": (
        tensors(lambda t: t.pop("lm_head.weight")),
        "tensor lm_head.weight is missing",
    ),
    "tensors: neither head nor embedding": (
        another_family("llama", lambda t: t.pop(EMBEDDING), tie_word_embeddings=True),
        f"tensor {EMBEDDING} is missing",
    ),
    "tensors: one expert is missing": (
        another_family("mixtral", lambda t: t.pop(EXPERT.format(2, "w1"))),
        f"tensor {EXPERT.format(2, 'w1')} is missing",
    ),
    "tensors: a part of all experts is missing": (
        another_family("mixtral", lambda t: [t.pop(EXPERT.format(i, "w1")) for i in range(4)]),
        f"tensor {EXPERT.format(0, 'w1')} is missing",
    ),
    "tensors: one expert too many": (
        another_family(
            "mixtral",
            lambda t: t.update({EXPERT.format(4, "w1"): t[EXPERT.format(2, "w1")] + 1}),
        ),
        f"tensor {EXPERT.format(4, 'w1')} has no place: config.json says 4 experts",
    ),
    "tensors: a bias too many": (
        tensors(lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(32)})),
        "tensor model.layers.0.self_attn.q_proj.bias has no place in LlamaForCausalLM",
    ),
    "tensors: a bias is missing": (
        another_family("qwen2", lambda t: t.pop("model.layers.1.self_attn.k_proj.bias")),
        "tensor model.layers.1.self_attn.k_proj.bias is missing",
    ),
    "config: other widths": (
        config(intermediate_size=48),
        "is (32, 64), config.json says (32, 48)",
    ),
    "config: more layers": (config(num_hidden_layers=3), "tensor model.layers.2"),
    "config: fewer layers": (config(num_hidden_layers=1), "has no place in LlamaForCausalLM"),
    "config: an unknown architecture": (
        config(architectures=["BertForMaskedLM"]),
        "architecture 'BertForMaskedLM' is unknown, known are OlmoForCausalLM",
    ),
    "config: no architecture": (config(architectures=REMOVE), "architecture None is unknown"),
    "config: architecture is a number": (config(architectures=3), "expected a list of one"),
    "config: architecture is a list": (config(architectures=[["x"]]), "config.json: "),
    "config: another model type": (config(model_type="gpt2"), "model_type 'gpt2' does not belong"),
    "config: code of its own": (own_code("XForCausalLM"), "architecture 'XForCausalLM' is unknown"),
    "config: code for a known name": (own_code("LlamaForCausalLM"), "model_type 'x' does not"),
    "config: quantised": (
        config(quantization_config={"quant_method": "gptq", "bits": 4}),
        "the weights are quantised",
    ),
    "config: missing": (remove("config.json"), "config.json: not a readable model config"),
    "config: empty": (put("config.json", ""), "config.json: not a readable model config"),
    "config: truncated": (cut("config.json", 100), "config.json: not a readable model config"),
    "config: a list": (put("config.json", "[]"), "config.json: not a readable model config"),
    "config: UTF-16": (put("config.json", "{}".encode("utf-16")), "config.json: not a readable"),
    "config: nested without end": (put("config.json", "[" * 10**5), "config.json: not a readable"),
    "config: a size is text": (config(hidden_size="big"), "config.json"),
    "config: a size is null": (config(hidden_size=None), "config.json"),
    "config: no vocabulary": (config(vocab_size=0), "the embedding only 0 rows"),
    "config: vocabulary is text": (config(vocab_size="many"), "config.json"),
    "config: heads do not divide": (config(num_attention_heads=5), "config.json"),
    "config: no heads": (config(num_attention_heads=0), "config.json"),
    "config: negative layers": (config(num_hidden_layers=-1), "config.json"),
    "config: unknown activation": (config(hidden_act="swoosh"), "config.json"),
    "config: unknown rotation": (
        config(rope_parameters={"rope_type": "spiral", "rope_theta": 1e4}),
        "config.json",
    ),
    "config: unknown dtype": (config(dtype="float33"), "config.json"),
    "tokenizer: missing": (remove("tokenizer.json"), "tokenizer.json: not a readable JSON file"),
    "tokenizer: its config missing": (
        names_no_end(remove("tokenizer_config.json")),
        "eos_token is missing in tokenizer_config.json",
    ),
    "tokenizer: truncated": (cut("tokenizer.json", -9), "tokenizer.json: not a readable JSON"),
    "tokenizer: another form": (
        put("tokenizer.json", '{"version": "1.0", "model": {"type": "None"}}'),
        "tokenizer.json: not a tokenizer",
    ),
    "tokenizer: its model a list": (put("tokenizer.json", '{"model": []}'), "not a tokenizer"),
    "tokenizer: its vocabulary a number": (
        put("tokenizer.json", '{"version": "1.0", "model": {"type": "BPE", "vocab": 3}}'),
        "tokenizer.json: not a readable tokenizer",
    ),
    "tokenizer: no end of text": (
        names_no_end(put("tokenizer_config.json", '{"pad_token": "<|padding|>"}')),
        "name the token that ends a text in models.m.end_of_text",
    ),
    "tokenizer: an unknown end of text": (
        put("tokenizer_config.json", '{"eos_token": "<|fin|>"}'),
        "eos_token is missing or unknown",
    ),
    "tokenizer: larger than the embedding": (
        config(vocab_size=300),
        "the tokenizer has ids up to 319, the embedding only 300 rows",
    ),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template") / "source"
    build_model("llama").save_pretrained(folder)
    return build_tokenizer(folder)


@pytest.fixture
def source(tmp_path, template):
    return Path(shutil.copytree(template, tmp_path / "source"))


def fetch(path, kind="directory"):
    """Fetch, with the results beside the source; return the line and check that nothing is left."""
    study = path.parent
    before = tree(study)
    settings = {"source": {"kind": kind, "path": str(path)}, "step": 0}
    output = study / "results/fetch_checkpoint/m/step0/manifest.json"
    record = study / "results/logs/fetch_checkpoint/m/step0/record.json"
    line = call("fetch_checkpoint", settings, output=output, record=record)
    assert tree(study) == before
    return line


@pytest.mark.parametrize("what", BAD)
def test_a_bad_checkpoint_is_refused_in_one_line(source, what):
    damage, says = BAD[what]
    damage(source)
    line = fetch(source)
    assert line is not None
    assert says in line
    assert str(source) in line
    assert not (source.parent / MARKER).exists()


def test_code_beside_a_known_model_is_never_run(source):
    """Such a model is taken: it is computed by the library's own code."""
    own_code("LlamaForCausalLM")(source)
    edit_json(source, model_type="llama")
    settings = {"source": {"kind": "directory", "path": str(source)}, "step": 0}
    assert call("fetch_checkpoint", settings, output=source.parent / "o/manifest.json") is None
    assert not (source.parent / MARKER).exists()


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("directory", None, "source.path: no such directory"),
        ("directory", b"x", "source.path: no such directory"),
        ("gguf", None, "source.path: no such file"),
        ("gguf", b"", "not a readable GGUF file"),
        ("gguf", b"GGUF" + b"\xff" * 100, "not a readable GGUF file"),
        ("gguf", b"text that is no weights", "not a readable GGUF file"),
    ],
)
def test_a_bad_place_is_refused_in_one_line(tmp_path, kind, content, says):
    place = tmp_path / "study/place"
    place.parent.mkdir()
    if content is not None:
        place.write_bytes(content)
    line = fetch(place, kind)
    assert line is not None
    assert says in line
