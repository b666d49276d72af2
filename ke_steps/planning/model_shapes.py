"""How large a model is, and how much arithmetic a token takes, from its config.json alone.

Counted are the matrices; biases and norms, below 0.1 % of a model of a billion parameters, are not.
A multiply-add is two floating-point operations; attention is counted over the whole square of
positions, as is usual, though causal kernels skip half of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNGATED = frozenset({"gpt_neox", "gpt2"})
GATED = frozenset(
    {"olmo", "olmo2", "olmo3", "olmoe", "llama", "smollm3", "mistral", "mixtral", "phi3"}
    | {"qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gemma3_text"}
)
TIED_BY_DEFAULT = frozenset({"gpt2", "smollm3", "gemma", "gemma2", "gemma3", "gemma3_text"})
"""Whose input and output embeddings are one matrix when the config does not say."""


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a causal language model."""

    num_layers: int
    hidden_size: int
    attention_size: int
    """Heads × width of a head."""

    num_memories: int
    """m of a layer; in a mixture, experts × neurons."""

    num_layer_parameters: int
    num_active_layer_parameters: int
    """Those of a layer that one token passes; fewer than all in a mixture."""

    vocab_size: int
    num_embeddings: int
    """Rows of all embeddings: input, output when it is another matrix, learned positions."""

    @property
    def num_parameters(self) -> int:
        """All of them, but for biases and norms."""
        return self.num_layers * self.num_layer_parameters + self.num_embeddings * self.hidden_size

    @property
    def num_active_rows(self) -> float:
        """Rows of the hidden state's width in the matrices of a layer that one token passes."""
        return self.num_active_layer_parameters / max(1, self.hidden_size)

    def body_flops(self, num_tokens: float, length_tokens: float) -> float:
        """Return what a forward pass without the head takes, in sequences of ``length_tokens``."""
        matrices = num_tokens * self.num_layers * 2 * self.num_active_layer_parameters
        return matrices + self.attention_flops(num_tokens, length_tokens)

    def attention_flops(self, num_tokens: float, length_tokens: float) -> float:
        """Return what scores and weighted means take, without the projections."""
        return num_tokens * self.num_layers * 4 * self.attention_size * length_tokens

    def head_flops(self, num_tokens: float) -> float:
        """Return what the logits of so many positions take."""
        return num_tokens * 2 * self.hidden_size * self.vocab_size

    def forward_flops(self, num_tokens: float, length_tokens: float) -> float:
        """Return 2 · N · tokens, with attention: body and head."""
        return self.body_flops(num_tokens, length_tokens) + self.head_flops(num_tokens)

    def training_flops(self, num_tokens: float, length_tokens: float) -> float:
        """Return 6 · N · tokens, with attention: a backward pass is two forward ones."""
        return 3 * self.forward_flops(num_tokens, length_tokens)


def shape_of_config(config: Mapping[str, Any]) -> ModelShape | None:
    """Read a config.json of transformers; None for an architecture that is not known here."""
    config = config.get("text_config", config)
    family = config.get("model_type")
    if family not in GATED | UNGATED:
        return None
    d = _first(config, "hidden_size", "n_embd")
    num_heads = _first(config, "num_attention_heads", "n_head")
    head_size = config.get("head_dim") or d // num_heads
    num_key_value_heads = config.get("num_key_value_heads") or num_heads
    m = _first(config, "intermediate_size", "n_inner", default=4 * d)
    num_experts = _first(config, "num_local_experts", "num_experts", default=1)
    num_chosen = config.get("num_experts_per_tok", 1) if num_experts > 1 else 1
    attention = 2 * d * head_size * (num_heads + num_key_value_heads)
    expert = (2 if family in UNGATED else 3) * d * m
    router = d * num_experts if num_experts > 1 else 0
    is_tied = config.get("tie_word_embeddings", family in TIED_BY_DEFAULT)
    positions = config.get("n_positions", 1024) if family == "gpt2" else 0
    return ModelShape(
        num_layers=_first(config, "num_hidden_layers", "n_layer"),
        hidden_size=d,
        attention_size=num_heads * head_size,
        num_memories=num_experts * m,
        num_layer_parameters=attention + num_experts * expert + router,
        num_active_layer_parameters=attention + num_chosen * expert + router,
        vocab_size=config["vocab_size"],
        num_embeddings=config["vocab_size"] * (1 if is_tied else 2) + positions,
    )


def _first(config: Mapping[str, Any], *keys: str, default: int | None = None) -> int:
    """Return the first value that a config has among the names of different families."""
    found = [config[key] for key in keys if config.get(key) is not None]
    if not found and default is None:
        raise ValueError(f"the config has none of {', '.join(keys)}")
    return int(found[0] if found else default or 0)
