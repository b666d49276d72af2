"""OLMo's own checkpoint format, rewritten as the weights of transformers' ``OlmoForCausalLM``.

A folder has the weights under OLMo's names, plain or pickled (see ``pickled_names``), and either
the trainer's ``config.yaml`` (sizes under ``model``) or a ``config.json`` of model type ``hf_olmo``
(sizes at the top). Query, key and value are one matrix there (``att_proj``), and so are the up and
gate projections (``ff_proj``): OLMo computes ``x, gate = ff_proj(x).chunk(2); silu(gate) * x``, so
that the first half is *up*. Rotary frequencies pair the same dimensions in both formats, so that no
rows are permuted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import OlmoConfig

from ke_steps.checkpoints.pickled_names import plain_name
from ke_steps.checkpoints.weight_files import WEIGHTS, writing
from ke_steps.job.errors import UserError
from ke_steps.job.files import NOT_JSON, read_object

TOP_NAMES = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.ff_out.weight": "lm_head.weight",
}
BLOCK = re.compile(r"transformer\.blocks\.(\d+)\.(\w+)\.weight")
BLOCK_NAMES = {"attn_out": "self_attn.o_proj", "ff_out": "mlp.down_proj"}

REQUIRED = ("d_model", "n_layers", "n_heads", "vocab_size", "max_sequence_length")
SUPPORTED = {
    "activation_type": "swiglu",
    "block_type": "sequential",
    "layer_norm_type": "default",
    "layer_norm_with_affine": False,
    "attention_layer_norm": False,
    "embedding_layer_norm": False,
    "norm_after": False,
    "include_bias": False,
    "rope": True,
    "alibi": False,
    "scale_logits": False,
}
"""What ``OlmoForCausalLM`` computes; with another value the same weights mean another model."""


def read_native_config(directory: Path) -> OlmoConfig:
    """Translate a native checkpoint's config.

    Raises:
        UserError: unreadable, without a size, or of a model that ``OlmoForCausalLM`` cannot be.
    """
    where, native = _read_native(directory)
    for name in REQUIRED:
        if not isinstance(native.get(name), int):
            raise UserError(f"{where}: {name} is {native.get(name)!r}, expected a whole number")
    for name, value in SUPPORTED.items():
        if native.get(name, value) != value:
            raise UserError(f"{where}: {name} is {native[name]!r}, only {value!r} can be converted")
    width = native["d_model"]
    # both sizes count the up and the gate half
    fused = native.get("mlp_hidden_size") or native.get("mlp_ratio", 4) * width
    num_kv_heads = 1 if native.get("multi_query_attention") else native.get("n_kv_heads")
    return OlmoConfig(
        architectures=["OlmoForCausalLM"],
        vocab_size=native.get("embedding_size") or native["vocab_size"],
        hidden_size=width,
        intermediate_size=fused // 2,
        num_hidden_layers=native["n_layers"],
        num_attention_heads=native["n_heads"],
        num_key_value_heads=num_kv_heads or native["n_heads"],
        max_position_embeddings=native["max_sequence_length"],
        rope_parameters={
            "rope_type": "default",
            "rope_theta": float(native.get("rope_theta", 10000)),
        },
        clip_qkv=native.get("clip_qkv"),
        tie_word_embeddings=native.get("weight_tying", True),
        bos_token_id=None,
        eos_token_id=native.get("eos_token_id"),
        pad_token_id=native.get("pad_token_id"),
    )


def _read_native(directory: Path) -> tuple[Path, Mapping[str, Any]]:
    path = directory / "config.json"
    try:
        if path.is_file():
            return path, read_object(path, "OLMo config")
        path = directory / "config.yaml"
        native = yaml.safe_load(path.read_text())["model"]
    except (OSError, *NOT_JSON, yaml.YAMLError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable OLMo config ({reason})") from error
    if not isinstance(native, dict):
        raise UserError(f"{path}: not a readable OLMo config (no mapping of sizes)")
    return path, native


def convert(weights: Sequence[Path], config: OlmoConfig, directory: Path) -> None:
    """Write ``config.json`` and ``model.safetensors``, in the dtype of the native weights.

    Args:
        weights: the native safetensors files, whole.
        config: of ``read_native_config``.
        directory: where to write; what is missing there shows when the model is loaded.

    Raises:
        UserError: a tensor has no place in the model, is there twice, or has not the shape that the
            config says.
    """
    tensors: dict[str, Tensor] = {}
    for path in weights:
        with safe_open(path, framework="pt") as file:
            for stored in sorted(file.keys()):
                name = plain_name(stored, where=str(path))
                where = f"{path}: tensor {name}"
                for place, piece in _translate(name, file.get_tensor(stored), config, where):
                    if place in tensors:
                        raise UserError(f"{where} is there twice, under two names")
                    tensors[place] = piece
    config.save_pretrained(directory)
    with writing(directory / WEIGHTS) as beside:
        save_file(tensors, beside, metadata={"format": "pt"})


def _translate(
    name: str, tensor: Tensor, config: OlmoConfig, where: str
) -> Iterator[tuple[str, Tensor]]:
    name = name.removeprefix("model.")
    block = BLOCK.fullmatch(name)
    if name in TOP_NAMES:
        yield TOP_NAMES[name], tensor
        return
    if block is None:
        raise UserError(f"{where} has no place in OlmoForCausalLM")
    layer, part = f"model.layers.{block[1]}", block[2]
    if part in BLOCK_NAMES:
        yield f"{layer}.{BLOCK_NAMES[part]}.weight", tensor
        return
    rows = _fused_rows(part, config)
    if rows is None:
        raise UserError(f"{where} has no place in OlmoForCausalLM")
    if tensor.shape[0] != sum(rows.values()):
        raise UserError(f"{where} has {tensor.shape[0]} rows, the config says {sum(rows.values())}")
    for projection, piece in zip(rows, tensor.split(list(rows.values())), strict=True):
        yield f"{layer}.{projection}.weight", piece


def _fused_rows(part: str, config: OlmoConfig) -> dict[str, int] | None:
    """Return how many rows of a fused matrix belong to which projection, in order."""
    if part == "ff_proj":
        return {
            "mlp.up_proj": config.intermediate_size,
            "mlp.gate_proj": config.intermediate_size,
        }
    if part == "att_proj":
        head = config.hidden_size // config.num_attention_heads
        return {
            "self_attn.q_proj": config.hidden_size,
            "self_attn.k_proj": head * config.num_key_value_heads,
            "self_attn.v_proj": head * config.num_key_value_heads,
        }
    return None
