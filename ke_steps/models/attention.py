"""Attention with its queries, keys and mask in sight.

transformers runs every model's attention by the function that the config names, one of several
registered, and builds the mask which that name wants. Those registered here show what they are
given and then call the usual one, so that outputs stay the model's to the bit: each usual name has
an observed one, with the same masks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ke_steps.checkpoints.families import find_family


class Attention(NamedTuple):
    """What one layer attends with, in a forward pass of B sequences of T tokens."""

    layer: int

    query: Tensor
    """(B, num_heads, T, head_dim)."""

    key: Tensor
    """(B, num_kv_heads, T, head_dim), each shared by a run of query heads."""

    mask: Tensor | None
    """(B or 1, 1, T, T), True or 0 where a query sees a key, False or very negative where not; None
    for all keys up to the query."""

    scaling: float
    """Of the scores."""

    softcap: float | None
    """Scores s become softcap · tanh(s / softcap); None leaves them as they are."""


Observe = Callable[[Attention], None]

_OBSERVED = {"sdpa": "observed_sdpa", "eager": "observed_eager"}
"""The usual implementations and those that show what these are given."""

_observers: dict[Any, tuple[int, Observe]] = {}


@contextmanager
def observing(model: PreTrainedModel, observe: Observe) -> Iterator[None]:
    """Show ``observe`` the attention of every layer of a model, in each forward pass.

    Raises:
        UserError: the architecture is unknown.
    """
    family = find_family(type(model).__name__, where="model")
    layers = enumerate(attrgetter(family.layers)(model.base_model))
    observers = {attrgetter(family.attention)(layer): (index, observe) for index, layer in layers}
    config = model.config
    usual = config._attn_implementation  # the dispatch of transformers reads this attribute
    config._attn_implementation = _OBSERVED[usual]
    _observers.update(observers)
    try:
        yield
    finally:
        for module in observers:
            del _observers[module]
        config._attn_implementation = usual


def _observed_form(usual: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """Return an attention function that shows what it is given and calls the ``usual`` one."""

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        layer, observe = _observers[module]
        observe(Attention(layer, query, key, mask, options["scaling"], options.get("softcap")))
        # each model's file has its own eager attention, which is not among the registered functions
        eager = sys.modules[type(module).__module__].eager_attention_forward
        function = ALL_ATTENTION_FUNCTIONS.get_interface(usual, eager)
        output: tuple[Tensor, Tensor | None] = function(module, query, key, value, mask, **options)
        return output

    return attend


for _usual, _observed in _OBSERVED.items():
    ALL_ATTENTION_FUNCTIONS.register(_observed, _observed_form(_usual))
    ALL_MASK_ATTENTION_FUNCTIONS.register(_observed, ALL_MASK_ATTENTION_FUNCTIONS[_usual])
