"""What the keys of a GGUF file say of its model, as values of transformers' configs.

A key that is passed over makes another model of the same weights, so each is read or refused by
its name. A value that the file leaves out is the format's own default, as llama.cpp takes it, and
never that of a config class, which is another model's. This module imports neither torch nor
transformers.
"""

from __future__ import annotations

from typing import Any

from ke_steps.checkpoints.families import find_family
from ke_steps.checkpoints.gguf_files import GgufFile, Keys
from ke_steps.checkpoints.gguf_rope import rope_parameters
from ke_steps.job.errors import UserError

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
"""Those of transformers' reader that are measured here."""

ALWAYS_TIED = frozenset({"gemma2", "gemma3"})
"""Architectures all of whose models have the embedding as their head."""

SIZES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
}
GPT2_NAMES = {"max_position_embeddings": "n_positions", "intermediate_size": "n_inner"}
BIASES = {
    "llama": {"attention_bias": "attn_q", "mlp_bias": "ffn_up"},
    "qwen3": {"attention_bias": "attn_q"},
    "gemma2": {"attention_bias": "attn_q"},
    "gemma3": {"attention_bias": "attn_q"},
}
"""Settings of a config that only the presence of a tensor tells."""


def read_gguf_config(file: GgufFile, *, tied_head: bool) -> dict[str, Any]:
    """Translate a GGUF file's keys into the values of a ``config.json``.

    Args:
        file: whole.
        tied_head: a file without ``output.weight`` is of a model whose head is its embedding.

    Raises:
        UserError: an architecture, a key or a value that cannot be carried over exactly.
    """
    if file.architecture not in ARCHITECTURES:
        raise UserError(
            f"{file.path}: general.architecture {file.architecture!r} is not read from GGUF, known"
            f" are {', '.join(ARCHITECTURES)}; take the model's safetensors"
        )
    name = ARCHITECTURES[file.architecture]
    keys = Keys(file)
    config: dict[str, Any] = {
        "architectures": [name],
        "model_type": find_family(name, where=str(file.path)).model_type,
        "dtype": "float32",
        "vocab_size": keys.whole("vocab_size", _rows_of_embedding(file)),
        "tie_word_embeddings": _is_tied(file, tied_head=tied_head),
        "bos_token_id": file.token_ids.get("bos_token_id"),
        "eos_token_id": file.token_ids.get("eos_token_id"),
        "pad_token_id": file.token_ids.get("padding_token_id"),
    } | {ours: keys.whole(key) for key, ours in SIZES.items()}
    config |= _gpt2(keys, config) if file.architecture == "gpt2" else _rotary(keys, config)
    keys.refuse_the_rest()
    return config


def _rows_of_embedding(file: GgufFile) -> int:
    if "token_embd.weight" not in file.tensors:
        raise UserError(f"{file.path}: tensor token_embd.weight is missing; get all its parts")
    return int(file.tensors["token_embd.weight"].shape[-1])


def _is_tied(file: GgufFile, *, tied_head: bool) -> bool:
    """Return whether the embedding is the head: no key of the format says so."""
    has_head = "output.weight" in file.tensors
    if has_head and tied_head:
        raise UserError(f"{file.path}: source.tied_head is true, but there is an output.weight")
    if not has_head and not tied_head and file.architecture not in ALWAYS_TIED:
        raise UserError(
            f"{file.path}: tensor output.weight is missing; if the model's head is its embedding"
            " (tie_word_embeddings in its config.json), set source.tied_head: true, otherwise get"
            " a whole file"
        )
    return not has_head


def _gpt2(keys: Keys, config: dict[str, Any]) -> dict[str, Any]:
    heads = config["num_attention_heads"]
    why = "GPT-2 has as many of each"
    keys.demand("attention.head_count_kv", heads, why=why)
    for name in ("attention.key_length", "attention.value_length"):
        keys.demand(name, config["hidden_size"] // heads, why="GPT-2 has no other size of heads")
    epsilon = {"layer_norm_epsilon": keys.number("attention.layer_norm_epsilon")}
    return epsilon | {new: config.pop(name) for name, new in GPT2_NAMES.items()}


def _rotary(keys: Keys, config: dict[str, Any]) -> dict[str, Any]:
    """Return what all architectures have but GPT-2."""
    file = keys.file
    heads = config["num_attention_heads"]
    head_dim = keys.whole("attention.key_length", config["hidden_size"] // heads)
    keys.demand("attention.value_length", head_dim, why="it must be the key_length")
    values = {
        "num_key_value_heads": keys.whole("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
    }
    for name, tensor in BIASES.get(file.architecture, {}).items():
        values[name] = f"blk.0.{tensor}.bias" in file.tensors
    rope = rope_parameters(keys, head_dim, config["max_position_embeddings"])
    if file.architecture == "phi3":
        values |= _phi3(keys, rope)
    if file.architecture in {"gemma2", "gemma3"}:
        values |= _gemma(keys, config, head_dim)
    if file.architecture == "gemma3":
        local = {"rope_type": "default", "rope_theta": keys.number("rope.freq_base_swa", 10000.0)}
        rope = {"full_attention": rope, "sliding_attention": local}
    return values | {"rope_parameters": rope}


def _phi3(keys: Keys, rope: dict[str, Any]) -> dict[str, Any]:
    if "attention.sliding_window" not in keys.left:
        raise keys.error("attention.sliding_window", "is missing: convert the model anew")
    window = keys.optional("attention.sliding_window")
    original = rope.get("original_max_position_embeddings")
    return {"sliding_window": window} | (
        {} if original is None else {"original_max_position_embeddings": original}
    )


def _gemma(keys: Keys, config: dict[str, Any], head_dim: int) -> dict[str, Any]:
    is_second = keys.file.architecture == "gemma2"
    num_layers = config["num_hidden_layers"]
    # of the models of each generation the largest alone scales by its width; no key says so
    is_largest = num_layers == (46 if is_second else 62)
    per_head = config["hidden_size"] // config["num_attention_heads"]
    window = keys.optional("attention.sliding_window") or (4096 if is_second else None)
    pattern = keys.whole("attention.sliding_window_pattern", 2 if is_second else 6)
    is_full = [window is None or number % pattern == 0 for number in range(1, num_layers + 1)]
    soft = {"final_logit_softcapping": keys.optional("final_logit_softcapping")}
    if is_second:
        soft = {
            "attn_logit_softcapping": keys.number("attn_logit_softcapping", 50.0),
            "final_logit_softcapping": soft["final_logit_softcapping"] or 30.0,
        }
    return soft | {
        "query_pre_attn_scalar": per_head if is_largest else head_dim,
        "sliding_window": window,
        "layer_types": ["full_attention" if full else "sliding_attention" for full in is_full],
    }
