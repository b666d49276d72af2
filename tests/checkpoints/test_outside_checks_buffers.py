"""Tensors that old uploads hold and no model loads: let be, whatever they hold; others are not."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.checkpoints.loaded_names import is_computed
from ke_steps.models.loading import load_model
from tests.invented.command_line import call
from tests.invented.models import (
    MAX_LENGTH_TOKENS,
    NUM_LAYERS,
    build_model,
    build_tokenizer,
    random_sequences,
)

CPU = torch.device("cpu")
MASK = torch.ones(1, 1, MAX_LENGTH_TOKENS, MAX_LENGTH_TOKENS).tril()
MINUS_INFINITY = torch.tensor(-np.inf, dtype=torch.float16)


def build_source(directory, family, change):
    """Write a random model's directory, its tensors as ``change`` leaves them; return the model."""
    model = build_model(family)
    model.save_pretrained(directory)
    build_tokenizer(directory)
    path = directory / "model.safetensors"
    tensors = change(load_file(path))
    save_file(tensors, path, metadata={"format": "pt"})
    return model


def fetch(source):
    settings = {"source": {"kind": "directory", "path": str(source)}, "step": 0}
    manifest = source.parent / "out/manifest.json"
    return manifest, call("fetch_checkpoint", settings, output=manifest)


def with_buffers(prefix, buffers):
    """Return a change that gives every layer these tensors."""
    named = {
        f"{prefix}.{layer}.{name}": value.clone()
        for layer in range(NUM_LAYERS)
        for name, value in buffers.items()
    }
    return lambda tensors: tensors | named


def as_gpt2_was_uploaded(tensors):
    base = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    return with_buffers("h", {"attn.bias": MASK, "attn.masked_bias": MINUS_INFINITY})(base)


UPLOADS = {
    "gpt_neox": with_buffers(
        "gpt_neox.layers",
        {
            "attention.bias": MASK.bool(),
            "attention.masked_bias": MINUS_INFINITY,
            "attention.rotary_emb.inv_freq": torch.ones(2, dtype=torch.float16),
        },
    ),
    "gpt2": as_gpt2_was_uploaded,
    "llama": with_buffers(
        "model.layers", {"self_attn.rotary_emb.inv_freq": torch.full([4], np.nan)}
    ),
}


@pytest.mark.parametrize("family", UPLOADS)
def test_stored_masks_and_rotations_are_let_be(tmp_path, family):
    model = build_source(tmp_path / "source", family, UPLOADS[family])
    manifest, line = fetch(tmp_path / "source")
    assert line is None
    ids = torch.tensor(random_sequences(2, 8))
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, load_model(manifest, device=CPU)(ids).logits)
    described = read_checkpoint_manifest(manifest)
    assert set(described["tensors"]) == {name for name, _ in model.named_parameters()}


def put(name, value):
    return lambda tensors: tensors | {name: value}


def fill(name, value):
    return lambda tensors: tensors | {name: torch.full_like(tensors[name], value)}


def drop(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


BAD = {
    # what is wrong: (family, change, what the line says)
    "a bias that is like a mask in name": (
        "gpt2",
        fill("transformer.h.0.attn.c_attn.bias", np.inf),
        "tensor transformer.h.0.attn.c_attn.bias holds NaN or Inf",
    ),
    "a bias of the attention": (
        "gpt_neox",
        fill("gpt_neox.layers.1.attention.dense.bias", np.nan),
        "tensor gpt_neox.layers.1.attention.dense.bias holds NaN or Inf",
    ),
    "a bias of whole numbers": (
        "gpt_neox",
        put("gpt_neox.layers.1.attention.dense.bias", torch.ones(32, dtype=torch.int8)),
        "is of torch.int8: quantised weights are not read",
    ),
    "beyond fp32": (
        "llama",
        put("model.norm.weight", torch.full([32], 1e300, dtype=torch.float64)),
        "tensor model.norm.weight holds NaN or Inf",
    ),
    "one that transformers passes over": (
        "gpt2",
        put("transformer.h.0.attn.q_attn.bias", torch.ones(32)),
        "tensor transformer.h.0.attn.q_attn.bias has no place in GPT2LMHeadModel",
    ),
    "two for one place": (
        "gpt2",
        put("wpe.weight", torch.ones(MAX_LENGTH_TOKENS, 32)),
        "wpe.weight has no place in GPT2LMHeadModel",
    ),
    "no expert's gate": (
        "mixtral",
        drop("model.layers.1.block_sparse_moe.experts.2.w1.weight"),
        "tensor model.layers.1.block_sparse_moe.experts.2.w1.weight is missing",
    ),
    "no down projection of an expert": (
        "olmoe",
        drop("model.layers.1.mlp.experts.3.down_proj.weight"),
        "tensor model.layers.1.mlp.experts.3.down_proj.weight is missing",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_buffer_is_refused(tmp_path, what):
    family, change, says = BAD[what]
    build_source(tmp_path / "source", family, change)
    manifest, line = fetch(tmp_path / "source")
    assert line is not None
    assert says in line
    assert not manifest.exists()


def test_masks_of_a_layer_that_config_does_not_have_do_not_hide_it(tmp_path):
    build_source(tmp_path / "source", "gpt2", as_gpt2_was_uploaded)
    path = tmp_path / "source/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_layer": 1}))
    _, line = fetch(tmp_path / "source")
    assert "h.1." in line
    assert "has no place in GPT2LMHeadModel" in line


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt_neox.layers.0.attention.bias", True),
        ("h.11.attn.masked_bias", True),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", True),
        ("embeddings.position_ids", True),
        ("gpt_neox.layers.0.attention.dense.bias", False),
        ("h.0.attn.c_attn.bias", False),
        ("model.layers.0.self_attn.q_proj.bias", False),
        ("model.embed_tokens.weight", False),
    ],
)
def test_what_models_compute_themselves_is_told_by_its_whole_name(name, expected):
    assert is_computed(name) == expected
