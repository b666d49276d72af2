"""Mixtures of experts with their coefficients in sight.

transformers keeps all experts of a layer in one module, ``gate_up_proj`` (E, 2n, d) with the gate
first and ``down_proj`` (E, d, n), and runs them by one of several registered implementations that
weight an expert's *output* by its router. The one registered here weights its coefficients, which
is the same sum in another order, and shows them on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

Observe = Callable[[int, Tensor, Tensor | None, Tensor], None]
"""Takes the expert, its coefficients (K, n), likewise with ReLU in place of the activation where
asked for, both weighted by the router, and the tokens (K,) int64 that it was given."""

_IMPLEMENTATION = "observed_memories"
_observers: dict[Any, tuple[Observe, bool]] = {}


@contextmanager
def observing(experts: Any, observe: Observe, *, with_relu: bool) -> Iterator[None]:
    """Show ``observe`` every expert that a token is routed to, in each forward pass.

    ``experts`` is the module of transformers that holds a layer's experts.
    """
    config = experts.config
    usual = config._experts_implementation  # the dispatch of transformers reads this attribute
    config._experts_implementation = _IMPLEMENTATION
    _observers[experts] = (observe, with_relu)
    try:
        yield
    finally:
        del _observers[experts]
        config._experts_implementation = usual


def _run_observed(
    experts: Any, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor
) -> Tensor:
    """Return the mixture's output (N, d) for ``hidden`` (N, d) and its top experts (N, k)."""
    observe, with_relu = _observers[experts]
    total = torch.zeros_like(hidden)
    for expert in range(experts.num_experts):
        token, slot = torch.where(top_k_index == expert)
        if len(token) == 0:
            continue
        weights = top_k_weights[token, slot, None]
        gate, up = F.linear(hidden[token], experts.gate_up_proj[expert]).chunk(2, dim=-1)
        coefficients = (experts.act_fn(gate) * up * weights).to(hidden.dtype)
        relu = (F.relu(gate) * up * weights).to(hidden.dtype) if with_relu else None
        observe(expert, coefficients, relu, token)
        output = F.linear(coefficients, experts.down_proj[expert])
        total.index_add_(0, token, output.to(total.dtype))
    return total


ALL_EXPERTS_FUNCTIONS.register(_IMPLEMENTATION, _run_observed)
