"""Ways to the four moments of every memory besides ours, each as well as its tool allows.

All return (4, num_layers, m), means of |c|, c, c² and [|c| > THRESHOLD]: forward passes in the
model's own dtype, and sums in fp32 or better, written as one would. What a tool computes besides
cannot be switched off in it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks.comparison import Measurement

Batches = Sequence[Tensor]
"""Token ids (B, T) of each batch, on the model's device."""

Peer = Callable[[PreTrainedModel, Batches], Measurement]

THRESHOLD = 0.125
"""In bf16 as in fp32 a number of its own."""


def bare(model: PreTrainedModel, batches: Batches) -> Measurement:
    """Return the forward pass of the body alone, which measures nothing."""

    @torch.inference_mode()
    def measure() -> NDArray[np.float64]:
        for batch in batches:
            model.base_model(input_ids=batch, use_cache=False)
        return np.empty(0)

    return measure


def plain_hooks(model: PreTrainedModel, batches: Batches) -> Measurement:
    """Return hooks on the output projections of the body that add up as it runs."""
    return _hooks(model, batches, _moments, 4)


def hooks_for_one(model: PreTrainedModel, batches: Batches) -> Measurement:
    """Return such hooks that take one moment, |c|: less than the others, so no peer."""
    return _hooks(model, batches, lambda values: _sums_of([values.abs()]), 1)


def _hooks(
    model: PreTrainedModel, batches: Batches, moments: Callable[[Tensor], Tensor], number: int
) -> Measurement:
    projections = _output_projections(model)

    @torch.inference_mode()
    def measure() -> NDArray[np.float64]:
        sums = _zeros(model)[:number]

        def adding_to(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                sums[:, layer] += moments(inputs[0])

            return add

        handles = [
            projection.register_forward_pre_hook(adding_to(layer))
            for layer, projection in enumerate(projections)
        ]
        for batch in batches:
            model.base_model(input_ids=batch, use_cache=False)
        for handle in handles:
            handle.remove()
        return _means(sums, batches)

    return measure


def papers_loop(model: PreTrainedModel, batches: Batches) -> Measurement:
    """Return a loop like the paper's: eager attention, full logits, every activation kept."""
    projections = _output_projections(model)

    @torch.inference_mode()
    def measure() -> NDArray[np.float64]:
        kept: list[list[Tensor]] = [[] for _ in projections]

        def keeping(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            return lambda _, inputs: kept[layer].append(inputs[0])

        handles = [
            projection.register_forward_pre_hook(keeping(layer))
            for layer, projection in enumerate(projections)
        ]
        model.set_attn_implementation("eager")
        for batch in batches:
            model(input_ids=batch, use_cache=False).logits.float()
        model.set_attn_implementation("sdpa")
        for handle in handles:
            handle.remove()
        sums = torch.stack([_moments(torch.cat(each)) for each in kept], dim=1)
        return _means(sums, batches)

    return measure


def nnsight(model: PreTrainedModel, batches: Batches) -> Measurement:
    """Return nnsight's trace of the body, summing inside the trace."""
    from nnsight import NNsight

    traced = NNsight(copy.deepcopy(model.base_model))

    @torch.inference_mode()
    def measure() -> NDArray[np.float64]:
        sums = _zeros(model)
        for batch in batches:
            with traced.trace(input_ids=batch, use_cache=False):
                for layer, block in enumerate(traced.layers):
                    sums[:, layer] += _moments(block.mlp.down_proj.input)
        return _means(sums, batches)

    return measure


def transformer_lens(model: PreTrainedModel, batches: Batches) -> Measurement:
    """Return ``run_with_cache`` of the activations alone; its bridge has eager attention."""
    from transformer_lens.model_bridge import TransformerBridge

    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE()),
        eos_token="<s>",
        pad_token="<s>",
    )
    bridge = TransformerBridge.boot_transformers(
        "allenai/OLMo-1B-hf",
        hf_model=copy.deepcopy(model),
        tokenizer=words,
        device=model.device,
        dtype=model.dtype,
    )
    names = [f"blocks.{layer}.mlp.out.hook_in" for layer in range(len(_output_projections(model)))]

    @torch.inference_mode()
    def measure() -> NDArray[np.float64]:
        sums = _zeros(model)
        for batch in batches:
            _, cache = bridge.run_with_cache(
                batch, names_filter=names, return_type=None, output_attentions=False
            )
            for layer, name in enumerate(names):
                sums[:, layer] += _moments(cache[name])
        return _means(sums, batches)

    return measure


def _output_projections(model: PreTrainedModel) -> list[nn.Module]:
    return [layer.mlp.down_proj for layer in model.base_model.layers]


def _zeros(model: PreTrainedModel) -> Tensor:
    config: Any = model.config
    shape = 4, config.num_hidden_layers, config.intermediate_size
    return torch.zeros(shape, dtype=torch.float64, device=model.device)


def _moments(values: Tensor) -> Tensor:
    """Return what is summed over the tokens of (B, T, m), (4, m)."""
    absolute = values.abs()
    return _sums_of([absolute, values, values.square(), absolute > THRESHOLD])


def _sums_of(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack([term.sum(dim=(0, 1), dtype=torch.float32) for term in terms])


def _means(sums: Tensor, batches: Batches) -> NDArray[np.float64]:
    means: NDArray[np.float64] = sums.double().cpu().numpy() / sum(b.numel() for b in batches)
    return means
