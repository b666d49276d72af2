"""The architectures that are known: where their memories and their attention queries are.

A family's feed-forward layer has one of four forms, told by ``form``:

- ``gated``: c = act(gate(x)) · up(x), two linear layers;
- ``fused``: likewise, gate and up stacked in one linear layer, gate first;
- ``ungated``: c = act(up(x));
- ``experts``: a mixture of fused gated layers, each token's weighted by its router.

This module reads ``config.json``; only where transformers is to read it, that is imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ke_steps.job.errors import UserError
from ke_steps.job.files import read_object

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Family:
    """One architecture. Names of modules are paths from a decoder layer."""

    model_type: str
    form: Literal["gated", "fused", "ungated", "experts"] = "gated"
    keys: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    """Modules that produce the coefficients; for ``experts`` the module that holds them all."""

    output: str = "mlp.down_proj"
    """The module whose input is the coefficients; for ``experts`` the block with the router."""

    layers: str = "layers"
    """The decoder layers' name in the base model."""

    queries: str = "self_attn.q_proj"
    """The query projection, or the fused one that starts with it or interleaves it by head."""

    query_layout: Literal["alone", "leading", "interleaved"] = "alone"
    normalises_queries: bool = False
    caps: tuple[str, ...] = ()
    """Keys of ``config.json`` by which attention scores or logits are capped."""

    default_softcapping: float | None = None
    """Cap on the attention scores where ``config.json`` does not say."""

    activation: str = "hidden_act"
    """The key of ``config.json`` that names the activation."""

    @property
    def attention(self) -> str:
        """The module that the query projection is in."""
        return self.queries.rpartition(".")[0]


_CAPS = ("attn_logit_softcapping", "final_logit_softcapping")
_EXPERTS = ("mlp.experts",)
_FAMILIES = {
    "OlmoForCausalLM": Family("olmo"),
    "Olmo2ForCausalLM": Family("olmo2", normalises_queries=True),
    "Olmo3ForCausalLM": Family("olmo3", normalises_queries=True),
    "LlamaForCausalLM": Family("llama"),
    "SmolLM3ForCausalLM": Family("smollm3"),
    "MistralForCausalLM": Family("mistral"),
    "Qwen2ForCausalLM": Family("qwen2"),
    "Qwen3ForCausalLM": Family("qwen3", normalises_queries=True),
    "Gemma2ForCausalLM": Family("gemma2", caps=_CAPS, default_softcapping=50.0),
    "Gemma3ForCausalLM": Family("gemma3_text", caps=_CAPS[1:], normalises_queries=True),
    "Phi3ForCausalLM": Family(
        "phi3",
        form="fused",
        keys=("mlp.gate_up_proj",),
        queries="self_attn.qkv_proj",
        query_layout="leading",
    ),
    "GPTNeoXForCausalLM": Family(
        "gpt_neox",
        form="ungated",
        keys=("mlp.dense_h_to_4h",),
        output="mlp.dense_4h_to_h",
        queries="attention.query_key_value",
        query_layout="interleaved",
    ),
    "GPT2LMHeadModel": Family(
        "gpt2",
        form="ungated",
        keys=("mlp.c_fc",),
        output="mlp.c_proj",
        layers="h",
        queries="attn.c_attn",
        query_layout="leading",
        activation="activation_function",
    ),
    "OlmoeForCausalLM": Family(
        "olmoe", form="experts", keys=_EXPERTS, output="mlp", normalises_queries=True
    ),
    "MixtralForCausalLM": Family("mixtral", form="experts", keys=_EXPERTS, output="mlp"),
}


def find_family(architecture: str | None, *, where: str) -> Family:
    """Return the family of an architecture.

    Raises:
        UserError: the architecture is unknown.
    """
    if not isinstance(architecture, str) or architecture not in _FAMILIES:
        raise UserError(
            f"{where}: architecture {architecture!r} is unknown, known are {', '.join(_FAMILIES)}"
        )
    return _FAMILIES[architecture]


def read_family(path: Path) -> tuple[Family, dict[str, Any]]:
    """Read a ``config.json``: return the family and the whole config.

    Raises:
        UserError: unreadable, of an unknown architecture, of another family's model type, or of a
            form that its architecture does not compute.
    """
    config = read_object(path, "model config")
    architectures = config.get("architectures") or [None]
    if not isinstance(architectures, list):
        raise UserError(f"{path}: architectures is {architectures!r}, expected a list of one name")
    family = find_family(architectures[0], where=str(path))
    if config.get("model_type") != family.model_type:
        raise UserError(
            f"{path}: model_type {config.get('model_type')!r} does not belong to"
            f" {architectures[0]}, expected {family.model_type!r}"
        )
    if config.get("quantization_config"):
        raise UserError(
            f"{path}: the weights are quantised (quantization_config), which is not read; take the"
            " model in fp32, fp16 or bf16, or as GGUF"
        )
    for key in _CAPS:
        if config.get(key) is not None and key not in family.caps:
            raise UserError(
                f"{path}: {key} is {config[key]!r}, which {architectures[0]} does not apply: set"
                " it to null if the model was trained without this cap"
            )
    temperature = config.get("attention_temperature", 1.0)  # of ``models.temperature``
    if not (isinstance(temperature, int | float) and 0 < temperature < math.inf):
        raise UserError(
            f"{path}: attention_temperature is {temperature!r}, expected a number above 0"
        )
    return family, config


def read_model_config(directory: Path) -> PreTrainedConfig:
    """Read a checkpoint's ``config.json``; only known architectures, never remote code.

    Raises:
        UserError: unreadable, or of an unknown architecture.
    """
    # takes seconds, which a study that is read or refused need not spend
    from transformers import AutoConfig

    path = directory / "config.json"
    read_family(path)
    try:
        return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a foreign value leads to in the library's own code
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable model config ({reason}); get it again") from error


def is_native_olmo(directory: Path) -> bool:
    """Return whether a folder holds a checkpoint in OLMo's own format (see ``native_olmo``)."""
    config = directory / "config.json"
    if not config.is_file():
        return (directory / "config.yaml").is_file()
    return bool(read_object(config, "model config").get("model_type") == "hf_olmo")


def num_positions(directory: Path) -> int | None:
    """Return how many positions the model in a folder has.

    None where there is no model, as with the nursery's tokenizer, or its config does not say.
    """
    path = directory / "config.json"
    if not path.is_file():
        return None
    _, config = read_family(path)
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    return positions if isinstance(positions, int) else None
