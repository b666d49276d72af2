"""What config.json of some hub repositories says, as far as it matters to a model's size.

So that a study of them can be planned before anything is downloaded. From the repositories
themselves; Pythia's embeddings are padded for the parallelism of its pretraining.
"""

from __future__ import annotations

from typing import Any

_OLMO_1B = {
    "model_type": "olmo",
    "num_hidden_layers": 16,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 16,
    "vocab_size": 50304,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
}
_OLMO_7B = _OLMO_1B | {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "tie_word_embeddings": False,
}


def _pythia(num_layers: int, hidden_size: int, num_heads: int, vocab_size: int) -> dict[str, Any]:
    return {
        "model_type": "gpt_neox",
        "num_hidden_layers": num_layers,
        "hidden_size": hidden_size,
        "intermediate_size": 4 * hidden_size,
        "num_attention_heads": num_heads,
        "vocab_size": vocab_size,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
    }


_PYTHIA = {
    "70m": _pythia(6, 512, 8, 50304),
    "160m": _pythia(12, 768, 12, 50304),
    "410m": _pythia(24, 1024, 16, 50304),
    "1b": _pythia(16, 2048, 8, 50304),
    "1.4b": _pythia(24, 2048, 16, 50304),
    "2.8b": _pythia(32, 2560, 32, 50304),
    "6.9b": _pythia(32, 4096, 32, 50432),
    "12b": _pythia(36, 5120, 40, 50688),
}

KNOWN_CONFIGS: dict[str, dict[str, Any]] = {
    "allenai/OLMo-1B-hf": _OLMO_1B,
    "allenai/OLMo-7B-hf": _OLMO_7B,
    "allenai/OLMo-7B": _OLMO_7B,
} | {
    f"EleutherAI/pythia-{size}{suffix}": config
    for size, config in _PYTHIA.items()
    for suffix in ("", "-deduped")
}
"""By repository."""
