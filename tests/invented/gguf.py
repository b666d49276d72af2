"""GGUF files of random models, with the keys and layouts that llama.cpp's converter writes."""

import json
import math
from pathlib import Path

import gguf
import numpy as np

from tests.invented.models import EOS_ID, PAD_ID

ARCHITECTURES = {"gemma3_text": "gemma3"}
"""Where GGUF's name is not transformers'."""


def write_gguf(
    path,
    model,
    tokenizer_directory,
    *,
    keys=None,
    change=None,
    parts=1,
    quantise=(),
    adds_bos=None,
):
    """Write a model and its tokenizer as one GGUF file, or in parts; return the (first) path.

    Args:
        path: of the whole file; parts are called ``…-00001-of-00002.gguf``.
        model: of a family that the format has.
        tokenizer_directory: holds a ``tokenizer.json`` with a byte-level BPE.
        keys: instead of those of ``keys_of`` or more, without the architecture's name; None leaves
            one out.
        change: called with {name: array} before the tensors are written.
        parts: how many files.
        quantise: starts of names of tensors to write in Q8_0.
        adds_bos: whether the tokenizer begins texts with its token; None does not say.
    """
    architecture = ARCHITECTURES.get(model.config.model_type, model.config.model_type)
    tensors = tensors_of(model, architecture)
    if change is not None:
        change(tensors)
    split = math.ceil(len(tensors) / parts) if parts > 1 else 0
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=split)
    for name, value in (keys_of(model, architecture) | (keys or {})).items():
        if value is not None:
            add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
            add |= {str: writer.add_string, list: writer.add_array}
            add[type(value)](f"{architecture}.{name}", value)
    add_tokenizer(writer, tokenizer_directory)
    if adds_bos is not None:
        writer.add_add_bos_token(adds_bos)
    for name, array in tensors.items():
        if any(f".{start}" in name for start in quantise):
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path if parts == 1 else path.with_name(f"{path.stem}-00001-of-{parts:05d}.gguf")


def add_tokenizer(writer, directory):
    """Write a byte-level BPE as the format's "gpt2"."""
    bpe = json.loads((Path(directory) / "tokenizer.json").read_text())["model"]
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    writer.add_bos_token_id(EOS_ID)
    writer.add_eos_token_id(EOS_ID)
    writer.add_pad_token_id(PAD_ID)


def keys_of(model, architecture):
    """Return {key without the architecture's name: value} of a model's config."""
    config = model.config
    head_dim = getattr(config, "head_dim", None)
    keys = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "attention.head_count": config.num_attention_heads,
    }
    if architecture == "gpt2":
        epsilon = {"attention.layer_norm_epsilon": config.layer_norm_epsilon}
        return keys | epsilon | {"feed_forward_length": config.n_inner}
    ropes = config.rope_parameters
    rope = ropes.get("full_attention", ropes)
    keys |= {
        "feed_forward_length": config.intermediate_size,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": float(rope["rope_theta"]),
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
    }
    if rope["rope_type"] in {"linear", "yarn"}:
        keys |= {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": rope["factor"]}
    if rope["rope_type"] == "yarn":
        keys["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
    if architecture == "llama":
        rotated = head_dim or config.hidden_size // config.num_attention_heads
        keys |= {"vocab_size": config.vocab_size, "rope.dimension_count": rotated}
    if architecture == "gemma2":
        keys |= {
            "attn_logit_softcapping": config.attn_logit_softcapping,
            "final_logit_softcapping": config.final_logit_softcapping,
        }
    if architecture == "gemma3":
        keys["rope.freq_base_swa"] = float(ropes["sliding_attention"]["rope_theta"])
    if architecture in {"gemma2", "gemma3", "phi3"}:
        keys["attention.sliding_window"] = config.sliding_window or 0
    if architecture == "phi3":
        keys |= phi3_keys(config, rope)
    return keys


def phi3_keys(config, rope):
    """Return what Phi-3 has beside the others."""
    heads = config.num_attention_heads
    original = config.original_max_position_embeddings
    keys = {
        "rope.scaling.original_context_length": original,
        "rope.dimension_count": int(rope["partial_rotary_factor"] * config.hidden_size) // heads,
    }
    if rope["rope_type"] == "longrope":
        scale = config.max_position_embeddings / original
        keys["rope.scaling.attn_factor"] = math.sqrt(1 + math.log(scale) / math.log(original))
    return keys


def tensors_of(model, architecture):
    """Return {GGUF's name: array}, a tied head left out, in the layouts of the format."""
    config = model.config
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    tensors = {}
    for ours, tensor in model.state_dict().items():
        if ours == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name = names.get_name(ours, try_suffixes=(".weight", ".bias"))
        array = tensor.numpy().copy()
        if architecture == "llama" and ("q_proj" in ours or "k_proj" in ours):
            heads = config.num_attention_heads if "q_proj" in ours else config.num_key_value_heads
            array = interleave(array, heads)
        if architecture.startswith("gemma") and ours.endswith("norm.weight"):
            array = array + 1
        if architecture == "gpt2" and ".c_" in ours:
            array = array.T.copy()
        tensors[name] = array
    rope = config.to_dict().get("rope_parameters") or {}
    if rope.get("rope_type") == "llama3":
        tensors["rope_freqs.weight"] = llama3_factors(config, rope)
    if rope.get("rope_type") == "longrope":
        for kind in ("long", "short"):
            factors = np.array(rope[f"{kind}_factor"], np.float32)
            tensors[f"rope_factors_{kind}.weight"] = factors
    return tensors


def interleave(array, num_heads):
    """Order the rows of a query or key projection as GGUF's Llama does: rotary pairs adjacent."""
    rows = array.reshape(num_heads, 2, len(array) // num_heads // 2, *array.shape[1:])
    return rows.swapaxes(1, 2).reshape(array.shape)


def llama3_factors(config, rope):
    """Return by what Llama 3 divides each rotary frequency: 1 where its wave is short."""
    head_dim = config.head_dim
    wavelengths = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, head_dim, 2) / head_dim)
    context, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = (context / wavelengths - low) / (high - low)
    factors = 1 / ((1 - smooth) / factor + smooth)
    factors[wavelengths < context / high] = 1
    factors[wavelengths > context / low] = factor
    return factors.astype(np.float32)
