"""How a GGUF file scales its rotary positions, as ``rope_parameters`` of transformers' configs.

Linear and YaRN scaling stand in keys. Llama 3's and LongRoPE's stand in tensors, as factors on the
wavelengths: what transformers calls ``longrope``, where Llama 3's serve long and short texts alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gguf import dequantize

from ke_steps.checkpoints.gguf_files import GgufFile, Keys
from ke_steps.job.errors import UserError

FREQUENCIES = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
ORIGINAL = "rope.scaling.original_context_length"
ROPE_TENSORS = frozenset({FREQUENCIES, LONG, SHORT})
"""Tensors that are no weights but part of the config: a factor on each rotary wavelength."""


def rope_parameters(keys: Keys, head_dim: int, context: int) -> dict[str, Any]:
    """Return the base, the scaling and how much of a head is rotated.

    Args:
        keys: of the file; those of the positions are taken.
        head_dim: dimensions of an attention head.
        context: positions that the model has.

    Raises:
        UserError: a key, a tensor or a value that transformers has no place for.
    """
    file = keys.file
    rope: dict[str, Any] = {"rope_theta": keys.number("rope.freq_base", 10000.0)}
    rotated = keys.whole("rope.dimension_count", head_dim)
    if file.architecture == "phi3":
        rope["partial_rotary_factor"] = rotated / head_dim
    elif rotated != head_dim:
        raise keys.error("rope.dimension_count", f"is {rotated}, only {head_dim} can be read")
    if ROPE_TENSORS & file.tensors.keys() or keys.left.get("rope.scaling.type") == "longrope":
        return rope | _by_tensors(keys, rotated // 2, context)
    return rope | _by_keys(keys, context)


def _by_tensors(keys: Keys, num_pairs: int, context: int) -> dict[str, Any]:
    file = keys.file
    found = sorted(ROPE_TENSORS & file.tensors.keys())
    if found and file.architecture not in {"llama", "phi3"}:
        raise UserError(f"{file.path}: tensor {found[0]} has no place in this architecture")
    if found and FREQUENCIES in found[1:]:
        raise UserError(f"{file.path}: tensor {FREQUENCIES} has no place beside {found[0]}")
    kind = keys.left.pop("rope.scaling.type", "none")
    if kind not in {"none", "longrope"} or keys.optional("rope.scaling.factor") is not None:
        raise keys.error("rope.scaling", f"(type {kind}) has no place beside tensor {found[0]}")
    short, long = (FREQUENCIES, FREQUENCIES) if found == [FREQUENCIES] else (SHORT, LONG)
    return {
        "rope_type": "longrope",
        "short_factor": _factors(file, short, num_pairs),
        "long_factor": _factors(file, long, num_pairs),
        "attention_factor": float(keys.number("rope.scaling.attn_factor", 1.0)),
        "original_max_position_embeddings": keys.whole(ORIGINAL, context),
    }


def _by_keys(keys: Keys, context: int) -> dict[str, Any]:
    factor = keys.optional("rope.scaling.factor")
    kind = keys.left.pop("rope.scaling.type", "none" if factor is None else "linear")
    if kind == "none" and factor is None:
        return {"rope_type": "default"}
    # transformers' Phi-3 knows no scaling but that by tensors
    if kind not in {"linear", "yarn"} or factor is None or keys.file.architecture == "phi3":
        raise keys.error("rope.scaling.type", f"({kind}, factor {factor}) is not read")
    scaling = {"rope_type": kind, "factor": factor}
    if kind == "yarn":
        scaling |= {
            "original_max_position_embeddings": keys.whole(ORIGINAL, context),
            "beta_fast": keys.number("rope.scaling.yarn_beta_fast", 32.0),
            "beta_slow": keys.number("rope.scaling.yarn_beta_slow", 1.0),
        }
    return scaling


def _factors(file: GgufFile, name: str, count: int) -> list[float]:
    """Return a tensor of factors on the wavelengths, one per rotated pair of dimensions."""
    if name not in file.tensors:
        raise UserError(f"{file.path}: tensor {name} is missing; get all its parts")
    tensor = file.tensors[name]
    factors = dequantize(tensor.data, tensor.tensor_type)
    if factors.shape != (count,) or not (np.isfinite(factors) & (factors > 0)).all():
        raise UserError(
            f"{file.path}: tensor {name} is {factors.shape}, expected {count} numbers above 0"
        )
    return [float(factor) for factor in factors]
