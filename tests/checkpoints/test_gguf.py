"""GGUF: the logits of the same weights in a directory, or one line that says what is at fault."""

import re
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.checkpoints.gguf import convert_gguf
from ke_steps.checkpoints.gguf_config import read_gguf_config
from ke_steps.checkpoints.gguf_files import open_gguf
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model
from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.fetching import fetch as fetch_source
from tests.invented.gguf import write_gguf
from tests.invented.models import (
    EOS_ID,
    PAD_ID,
    build_model,
    build_tokenizer,
    random_sequences,
)

CPU = torch.device("cpu")
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.25, 1.5, 2.0],
    "long_factor": [1.5, 3.0, 6.0, 8.0],
}
GEMMA3 = {"num_hidden_layers": 7, "sliding_window": 8}
LOCAL = {"rope_type": "default", "rope_theta": 10000.0}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return build_tokenizer(tmp_path_factory.mktemp("gguf") / "tokenizer")


def build(family, **overrides):
    """Return a random model; Gemma's is tied, as all of them are."""
    return build_model(family, **({"tie_word_embeddings": "gemma" in family} | overrides))


def fetch(path, manifest, kind="gguf", **more):
    return fetch_source({"kind": kind, "path": str(path)} | more, manifest, step=3)


def refusal(path, manifest, **more):
    """Return the one line with which a file is refused; nothing is left of the checkpoint."""
    with pytest.raises(UserError) as caught:
        fetch(path, manifest, **more)
    line = str(caught.value)
    assert "\n" not in line
    assert not list(manifest.parent.iterdir())
    return line


def logits(manifest, num_tokens=48):
    """Return the logits of texts longer than the windows and than the original contexts above."""
    with torch.inference_mode():
        ids = torch.tensor(random_sequences(2, num_tokens))
        return load_model(manifest, device=CPU)(ids).logits


def fetch_both(tmp_path, tokenizer, model):
    """Fetch a model as a directory and as GGUF; return both manifests."""
    model.save_pretrained(tmp_path / "source")
    build_tokenizer(tmp_path / "source")
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer)
    config = model.config
    tied = config.tie_word_embeddings and "gemma" not in config.model_type
    return (
        fetch(tmp_path / "source", tmp_path / "out" / "manifest.json", "directory"),
        fetch(path, tmp_path / "out_gguf" / "manifest.json", tied_head=tied),
    )


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True}),
        ("llama", {"head_dim": 16, "rope_parameters": LOCAL | {"rope_theta": 500000.0}}),
        ("llama", {"rms_norm_eps": 0.01}),
        ("qwen2", {}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {}),
        ("qwen3", {"attention_bias": True, "head_dim": 16}),
        ("gemma2", {}),
        ("gemma2", {"attn_logit_softcapping": 2.0}),
        ("gemma2", {"final_logit_softcapping": 2.0}),
        ("gemma2", {"sliding_window": 8}),
        ("gemma3_text", GEMMA3),
        ("gemma3_text", GEMMA3 | {"tie_word_embeddings": False}),
        ("phi3", {}),
        ("phi3", {"tie_word_embeddings": True}),
        ("gpt2", {"tie_word_embeddings": True}),
        ("gpt2", {"layer_norm_epsilon": 0.01}),
    ],
)
def test_logits_are_those_of_the_directory(tmp_path, tokenizer, family, overrides):
    directory, read = fetch_both(tmp_path, tokenizer, build(family, **overrides))
    torch.testing.assert_close(logits(read), logits(directory), atol=1e-5, rtol=0)
    sizes = [read_checkpoint_manifest(path)["num_parameters"] for path in (directory, read)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {"head_dim": 16, "rope_parameters": LLAMA3}),
        ("llama", {"rope_parameters": LINEAR}),
        ("llama", {"rope_parameters": YARN}),
        ("qwen2", {"rope_parameters": LINEAR}),
        ("qwen2", {"rope_parameters": YARN}),
        ("qwen3", {"rope_parameters": YARN}),
        (
            "gemma3_text",
            GEMMA3 | {"rope_parameters": {"full_attention": LINEAR, "sliding_attention": LOCAL}},
        ),
        ("phi3", {"sliding_window": 8}),
        ("phi3", {"rope_parameters": LOCAL | {"partial_rotary_factor": 0.5}}),
        (
            "phi3",
            {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32},
        ),
    ],
)
def test_positions_are_those_of_the_directory(tmp_path, tokenizer, family, overrides):
    """And what a file says of them matters here: without it the logits are others."""
    model = build(family, **overrides)
    directory, read = fetch_both(tmp_path, tokenizer, model)
    expected = logits(directory)
    torch.testing.assert_close(logits(read), expected, atol=1e-5, rtol=0)
    kept = {key: value for key, value in overrides.items() if key in {"head_dim", *GEMMA3}}
    kept.pop("sliding_window" if family == "phi3" else "", None)
    with torch.inference_mode():
        ids = torch.tensor(random_sequences(2, 48))
        plain = build(family, **kept)(ids).logits
    assert float((plain - expected).abs().max()) > 1e-2


def test_long_factors_hold_for_long_texts_alone(tmp_path, tokenizer):
    model = build("phi3", rope_parameters=LONGROPE, original_max_position_embeddings=32)
    directory, read = fetch_both(tmp_path, tokenizer, model)
    torch.testing.assert_close(logits(read, 32), logits(directory, 32), atol=1e-5, rtol=0)


def test_a_quantised_file_is_dequantised_exactly(tmp_path, tokenizer):
    model = build("llama")
    path = write_gguf(tmp_path / "tiny.gguf", model, tokenizer, quantise=["ffn_gate", "ffn_up"])
    manifest = fetch(path, tmp_path / "out" / "manifest.json")
    described = read_checkpoint_manifest(manifest)
    assert described["architecture"] == "LlamaForCausalLM"
    assert {tensor["dtype"] for tensor in described["tensors"].values()} == {"F32"}
    kind = gguf.GGMLQuantizationType.Q8_0
    weights = model.state_dict()
    for name, tensor in load_model(manifest, device=CPU).state_dict().items():
        expected = weights[name].numpy()
        if "gate_proj" in name or "up_proj" in name:
            expected = gguf.dequantize(gguf.quantize(expected, kind), kind)
        np.testing.assert_array_equal(tensor.numpy(), expected)


def test_the_tokenizer_is_the_file_s(tmp_path, tokenizer):
    path = write_gguf(tmp_path / "tiny.gguf", build("llama"), tokenizer)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (tmp_path / name).write_text('{"tokenizer_class": "BertTokenizer", "model_type": "bert"}')
    manifest = fetch(path, tmp_path / "out" / "manifest.json")
    read, original = load_tokenizer(manifest.parent), load_tokenizer(tokenizer)
    text = "The river Tamsin flows past 12 lamps."
    assert read.encode(text) == original.encode(text)
    assert (read.eos_token_id, read.pad_token_id) == (EOS_ID, PAD_ID)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "phi3", "gpt2"])
def test_each_missing_tensor_is_named(tmp_path, tokenizer, family):
    model = build(family)
    whole = {}
    write_gguf(tmp_path / "whole.gguf", model, tokenizer, change=whole.update)
    top = {name for name in whole if "blk" not in name}
    for name in sorted(top | {name for name in whole if "blk.1" in name}):
        path = tmp_path / "model.gguf"
        write_gguf(path, model, tokenizer, change=lambda tensors, name=name: tensors.pop(name))
        with pytest.raises(UserError, match=f"tensor {re.escape(name)} is missing"):
            file = open_gguf(path)
            convert_gguf(file, read_gguf_config(file, tied_head=False), tmp_path)


@pytest.mark.parametrize("name", ["blk.1.ffn_up.weight", "output.weight", "output_norm.weight"])
def test_a_renamed_tensor_is_named(tmp_path, tokenizer, name):
    def rename(tensors):
        tensors["renamed.weight"] = tensors.pop(name)

    path = write_gguf(tmp_path / "model.gguf", build("llama"), tokenizer, change=rename)
    line = refusal(path, tmp_path / "out" / "manifest.json")
    assert "renamed.weight has no place in LlamaForCausalLM" in line or name in line


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("blk.0.attn_q.bias", 32),
        ("blk.0.ffn_gate_exps.weight", 32),
        ("rope_factors_long.weight", 4),
        ("rope_freqs.weight", 5),
        ("blk.9.ffn_up.weight", 32),
    ],
)
def test_a_tensor_without_a_place_is_named(tmp_path, tokenizer, name, shape):
    def add(tensors):
        tensors[name] = np.ones(shape, np.float32)

    path = write_gguf(tmp_path / "model.gguf", build("llama"), tokenizer, change=add)
    line = refusal(path, tmp_path / "out" / "manifest.json")
    kin = {"blk.0.attn_q.bias": "attn_", "rope_factors_long.weight": "rope_factors_short.weight"}
    assert kin.get(name, name) in line


def test_a_head_is_tied_only_where_it_is_said(tmp_path, tokenizer):
    tied, own = (build("llama", tie_word_embeddings=tied) for tied in (True, False))
    path = write_gguf(tmp_path / "tied.gguf", tied, tokenizer)
    line = refusal(path, tmp_path / "out" / "manifest.json")
    assert re.search(r"tensor output\.weight is missing.*set source\.tied_head: true", line)
    path = write_gguf(tmp_path / "own.gguf", own, tokenizer)
    line = refusal(path, tmp_path / "out" / "manifest.json", tied_head=True)
    assert "source.tied_head is true, but there is an output.weight" in line


@pytest.mark.parametrize(
    ("family", "keys", "says"),
    [
        ("llama", {"attention.key_length": 16, "attention.value_length": 16}, "dimension_count"),
        ("qwen3", {"attention.key_length": 16, "attention.value_length": 16}, "tensor blk.0.attn"),
        ("qwen3", {"attention.value_length": 16}, "qwen3.attention.value_length is 16"),
        ("llama", {"feed_forward_length": 48}, "tensor blk.0.ffn_gate.weight is (64, 32), the"),
        ("llama", {"embedding_length": 64}, "tensor token_embd.weight is (320, 32), the"),
        ("llama", {"block_count": 1}, "tensor blk.1.attn_k.weight has no place"),
        ("llama", {"block_count": 3}, "tensor blk.2.attn_k.weight is missing"),
        ("llama", {"attention.head_count_kv": 2}, "tensor blk.0.attn_k.weight is (32, 32)"),
        ("llama", {"vocab_size": 640}, "tensor token_embd.weight is (320, 32)"),
        ("gpt2", {"context_length": 32}, "tensor position_embd.weight is (64, 32)"),
        ("gpt2", {"feed_forward_length": 48}, "tensor blk.0.ffn_up.weight is (64, 32)"),
        ("llama", {"attention.head_count": None}, "key llama.attention.head_count is missing"),
        ("llama", {"block_count": "two"}, "key llama.block_count is 'two', expected a number"),
        ("llama", {"feed_forward_length": [64, 32]}, "llama.feed_forward_length differs from"),
    ],
)
def test_keys_that_do_not_fit_the_tensors_are_refused(tmp_path, tokenizer, family, keys, says):
    path = write_gguf(tmp_path / "model.gguf", build(family), tokenizer, keys=keys)
    assert says in refusal(path, tmp_path / "out" / "manifest.json")


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("llama", "attention.sliding_window", 8),
        ("llama", "attention.scale", 0.5),
        ("llama", "attention.clamp_kqv", 8.0),
        ("llama", "attention.max_alibi_bias", 8.0),
        ("llama", "attention.layer_norm_epsilon", 0.01),
        ("llama", "attention.causal", False),
        ("llama", "logit_scale", 0.5),
        ("llama", "embedding_scale", 12.0),
        ("llama", "residual_scale", 0.2),
        ("llama", "expert_count", 8),
        ("llama", "expert_used_count", 2),
        ("llama", "final_logit_softcapping", 30.0),
        ("llama", "attn_logit_softcapping", 50.0),
        ("llama", "rope.scale_linear", 4.0),
        ("llama", "rope.scaling.alpha", 1000.0),
        ("llama", "rope.dimension_count", 4),
        ("llama", "rope.scaling.type", "dynamic"),
        ("llama", "use_parallel_residual", True),
        ("qwen2", "rope.dimension_sections", [2, 1, 1, 0]),
        ("qwen2", "rope.dimension_count", 4),
        ("qwen2", "attention.sliding_window", 8),
        ("gemma2", "attention.scale", 0.5),
        ("gemma3_text", "attn_logit_softcapping", 50.0),
        ("phi3", "rope.scaling.factor", 4.0),
        ("phi3", "rope.scaling.attn_factor", 1.2),
        ("phi3", "attention.sliding_window", None),
        ("gpt2", "attention.head_count_kv", 2),
        ("gpt2", "rope.freq_base", 10000.0),
        ("gpt2", "something_new", "yes"),
    ],
)
def test_a_key_that_changes_the_model_is_carried_or_refused(
    tmp_path, tokenizer, family, key, value
):
    path = write_gguf(tmp_path / "model.gguf", build(family), tokenizer, keys={key: value})
    line = refusal(path, tmp_path / "out" / "manifest.json")
    architecture = family.removesuffix("_text")
    assert f"key {architecture}.{key}" in line or "key phi3.rope.scaling.type" in line


@pytest.mark.parametrize("scaling", [{"yarn_attn_factor": 1.1}, {"yarn_log_multiplier": 0.1}])
def test_what_yarn_has_beyond_transformers_is_refused(tmp_path, tokenizer, scaling):
    model = build("llama", rope_parameters=YARN)
    keys = {f"rope.scaling.{key}": value for key, value in scaling.items()}
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer, keys=keys)
    assert f"key llama.{next(iter(keys))}" in refusal(path, tmp_path / "out" / "manifest.json")


@pytest.mark.parametrize(
    "keys",
    [
        {"attention.causal": True},
        {"expert_count": 0, "attention.max_alibi_bias": 0.0},
        {"rope.scaling.type": "none", "rope.scaling.finetuned": False},
        {"feed_forward_length": [64, 64], "attention.head_count_kv": [4, 4]},
        {"vocab_size": None, "attention.head_count_kv": None, "rope.freq_base": None},
    ],
)
def test_a_key_that_changes_nothing_is_no_hindrance(tmp_path, tokenizer, keys):
    model = build("llama")
    path = write_gguf(tmp_path / "model.gguf", model, tokenizer, keys=keys)
    read = logits(fetch(path, tmp_path / "out" / "manifest.json"))
    with torch.inference_mode():
        expected = model(torch.tensor(random_sequences(2, 48))).logits
    torch.testing.assert_close(read, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("family", "sizes", "scalar"),
    [
        ("gemma2", (46, 4608, 32, 128), 144),
        ("gemma2", (42, 3584, 16, 256), 256),
        ("gemma3_text", (62, 5376, 32, 128), 168),
        ("gemma3_text", (48, 3840, 16, 256), 256),
    ],
)
def test_the_largest_gemmas_scale_attention_by_their_width(
    tmp_path, tokenizer, family, sizes, scalar
):
    """As ``query_pre_attn_scalar`` in their config.json says, which no key of a GGUF file does."""
    names = ("block_count", "embedding_length", "attention.head_count", "attention.key_length")
    keys = dict(zip(names, sizes, strict=True)) | {"attention.value_length": sizes[-1]}
    path = write_gguf(tmp_path / "model.gguf", build(family), tokenizer, keys=keys)
    config = read_gguf_config(open_gguf(path), tied_head=False)
    assert config["query_pre_attn_scalar"] == scalar


def test_the_weights_can_be_read_by_all_who_read_the_config(tmp_path, tokenizer):
    path = write_gguf(tmp_path / "model.gguf", build("llama"), tokenizer)
    manifest = fetch(path, tmp_path / "out" / "manifest.json")
    modes = {path.name: path.stat().st_mode for path in manifest.parent.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_all_parts_of_a_split_file_are_read(tmp_path, tokenizer):
    model = build("llama", head_dim=16, rope_parameters=LLAMA3)
    whole = write_gguf(tmp_path / "whole.gguf", model, tokenizer)
    first = write_gguf(tmp_path / "model.gguf", model, tokenizer, parts=3)
    assert len(list(tmp_path.glob("model-*-of-00003.gguf"))) == 3
    hashes = [
        read_checkpoint_manifest(fetch(path, tmp_path / name / "manifest.json"))["tensors"]
        for path, name in ((whole, "a"), (first, "b"))
    ]
    assert hashes[0] == hashes[1]


def lose_part(first):
    first.with_name("model-00002-of-00003.gguf").unlink()


def swap_parts(first):
    second, third = (first.with_name(f"model-0000{n}-of-00003.gguf") for n in (2, 3))
    third.write_bytes(second.read_bytes())


def name_second(first):
    return first.with_name("model-00002-of-00003.gguf")


def rename_first(first):
    return first.rename(first.with_name("first.gguf"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lose_part, r"model-00002-of-00003\.gguf: missing, one of the 3 parts"),
        (swap_parts, r"model-00003-of-00003\.gguf: not part 3 of 3"),
        (name_second, r"one of 3 parts.*name the first.*llama-gguf-split --merge"),
        (rename_first, r"one of 3 parts.*name the first.*llama-gguf-split --merge"),
    ],
)
def test_a_split_file_that_is_not_whole_is_refused(tmp_path, tokenizer, damage, says):
    first = write_gguf(tmp_path / "model.gguf", build("llama"), tokenizer, parts=3)
    path = damage(first) or first
    assert re.search(says, refusal(path, tmp_path / "out" / "manifest.json"))


@pytest.mark.parametrize("keep", [0, 100, 5000, -2000])
def test_damaged_gguf_is_refused_in_one_line(tmp_path, tokenizer, keep):
    path = write_gguf(tmp_path / "cut.gguf", build("llama"), tokenizer)
    path.write_bytes(path.read_bytes()[:keep])
    line = refusal(path, tmp_path / "out" / "manifest.json")
    assert "not a readable GGUF file" in line


def spoil(tensors):
    tensors["output_norm.weight"][3] = np.nan


def put_integers(tensors):
    tensors["output_norm.weight"] = np.ones(32, np.int8)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (spoil, "tensor model.norm.weight holds NaN or Inf"),
        (put_integers, "tensor output_norm.weight is of I8, which is not read"),
    ],
)
def test_values_that_are_no_numbers_are_refused(tmp_path, tokenizer, change, says):
    path = write_gguf(tmp_path / "model.gguf", build("llama"), tokenizer, change=change)
    assert says in refusal(path, tmp_path / "out" / "manifest.json")


def test_an_unknown_architecture_is_refused(tmp_path, tokenizer):
    path = write_gguf(tmp_path / "model.gguf", build("llama"), tokenizer)
    path.write_bytes(path.read_bytes().replace(b"llama", b"zebra"))
    assert "general.architecture 'zebra' is not read" in refusal(
        path, tmp_path / "out" / "manifest.json"
    )


def test_the_file_is_left_alone(tmp_path, tokenizer):
    path = write_gguf(tmp_path / "model.gguf", build("llama"), tokenizer)
    before = Path(path).read_bytes()
    fetch(path, tmp_path / "out" / "manifest.json")
    assert Path(path).read_bytes() == before
