"""What the benchmarks share: a model of OLMo-1B's proportions, interleaved timing, ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, OlmoConfig, PreTrainedModel

Measurement = Callable[[], NDArray[np.float64]]
"""Does the work once and returns its result, by which versions are compared."""


def olmo_config(scale: float) -> OlmoConfig:
    """Return OLMo-1B's config with every width multiplied by ``scale``."""
    return OlmoConfig(
        vocab_size=round(50304 * scale),
        hidden_size=round(2048 * scale),
        intermediate_size=round(8192 * scale),
        num_hidden_layers=16,
        num_attention_heads=round(16 * scale),
        max_position_embeddings=round(2048 * scale),
        tie_word_embeddings=True,
        pad_token_id=1,
        eos_token_id=0,
    )


def random_model(config: OlmoConfig, device: torch.device) -> PreTrainedModel:
    """Build a model with the same random weights every time, in fp32."""
    transformers.set_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(device)


def interleave(
    measurements: Mapping[str, Measurement], num_repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Return seconds per repeat; the order reverses each time, so that drift hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in measurements}
    for repeat in range(num_repeats):
        for name in list(measurements)[:: 1 if repeat % 2 else -1]:
            started = time.perf_counter()
            measurements[name]()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(reference: list[float], times: list[float]) -> str:
    """Return how many times faster than the reference this is: median (least to most)."""
    ratios = [a / b for a, b in zip(reference, times, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
