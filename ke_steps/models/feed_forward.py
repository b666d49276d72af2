"""The feed-forward layers of a model, seen as key-value memories.

A feed-forward layer is FFN(x) = Σᵢ cᵢ · vᵢ (+ bias): the *memory vectors* vᵢ are the columns of the
output projection, the *memory coefficients* cᵢ its input (paper, section 2; FACTS: knowledge
entropy). A gated layer has c = act(gate(x)) · up(x), linear in row i of the up projection; an
ungated one has c = act(up(x)). In a mixture every neuron of every expert is a memory, expert by
expert, and its coefficient is weighted by the router, zero where the expert is not among the top.
What some families do to the layer's output afterwards (norms, residual) is not part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ke_steps.models.experts import observing
from ke_steps.models.parts import family_of


class Coefficients(NamedTuple):
    """What one layer, or one expert of a layer, computed in a forward pass."""

    layer: int
    first_memory: int
    """The layer's memory that column 0 belongs to."""

    values: Tensor
    """(B, T, n) in the autograd graph, or (K, n) when routed; the model's dtype."""

    relu: Tensor | None
    """Same shape: ReLU in place of the activation; None unless asked for."""

    routed: Tensor | None
    """(K, 2) int64: instance and position of each row; None when every token passes."""


Observe = Callable[[Coefficients], None]


class Rows(NamedTuple):
    """Views of a layer's parameters, one row per memory."""

    weight: Tensor
    """(m, d), or (experts, n, d)."""

    bias: Tensor | None
    """(m,)."""

    def scale(self, factors: Tensor) -> None:
        """Multiply row i, and its bias, by ``factors[i]``, in place; ``factors`` is (m,)."""
        with torch.no_grad():
            self.weight.mul_(factors.view(*self.weight.shape[:-1], 1))
            if self.bias is not None:
                self.bias.mul_(factors)

    def move(self, distances: Tensor, directions: Tensor) -> None:
        """Move row i, with its bias as one more number, by ``distances[i]`` times its norm.

        Args:
            distances: (m,), in place of rows that stay as they are 0.
            directions: (m, d), or (m, d + 1) with a bias, of any lengths but 0.
        """
        with torch.no_grad():
            width = self.weight.shape[-1]
            rows = self.weight.reshape(-1, width)
            if self.bias is not None:
                rows = torch.cat([rows, self.bias[:, None]], dim=1)
            lengths = distances * rows.norm(dim=1) / directions.norm(dim=1)
            moves = (lengths[:, None] * directions).to(rows.dtype)
            self.weight.add_(moves[:, :width].view(self.weight.shape))
            if self.bias is not None:
                self.bias.add_(moves[:, width])


@dataclass(frozen=True)
class _Dense:
    """A layer that every token passes: gate and up, the two fused in one module, or up alone."""

    index: int
    keys: Sequence[nn.Linear | Conv1D]
    output: nn.Linear | Conv1D
    is_fused: bool

    @property
    def num_memories(self) -> int:
        return _rows(self.output).weight.shape[1]

    def memory_vectors(self) -> Tensor:
        return self.vector_rows().weight

    def vector_rows(self) -> Rows:
        return Rows(_rows(self.output).weight.T, None)

    def rows(self) -> list[Rows]:
        if self.is_fused:  # without biases in the one family that has this form
            return [Rows(half, None) for half in self.keys[0].weight.chunk(2)]
        return [_rows(module) for module in self.keys]

    @contextmanager
    def observing(self, observe: Observe, *, with_relu: bool) -> Iterator[None]:
        preactivations: dict[nn.Module, Tensor] = {}

        def keep(module: nn.Module, _: Any, result: Tensor) -> None:
            preactivations[module] = result

        def show(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            relu = self._relu([preactivations.pop(key) for key in self.keys]) if with_relu else None
            observe(Coefficients(self.index, 0, given[0], relu, routed=None))

        handles = [self.output.register_forward_pre_hook(show)]
        if with_relu:
            handles += [key.register_forward_hook(keep) for key in self.keys]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _relu(self, preactivations: list[Tensor]) -> Tensor:
        if self.is_fused:
            preactivations = list(preactivations[0].chunk(2, dim=-1))
        gate, *up = preactivations
        return F.relu(gate) * up[0] if up else F.relu(gate)


@dataclass(frozen=True)
class _Mixture:
    """A layer of experts, of which each token passes the few that its router picks."""

    index: int
    experts: Any
    """The module of transformers that holds all experts' weights, see ``models.experts``."""

    block: nn.Module
    """Router and experts: its input still has the shape (B, T, d)."""

    @property
    def num_memories(self) -> int:
        num_experts, _, num_neurons = self.experts.down_proj.shape
        return num_experts * num_neurons

    def memory_vectors(self) -> Tensor:
        return self.vector_rows().weight.flatten(0, 1)

    def vector_rows(self) -> Rows:
        return Rows(self.experts.down_proj.transpose(1, 2), None)

    def rows(self) -> list[Rows]:
        return [Rows(half, None) for half in self.experts.gate_up_proj.chunk(2, dim=1)]

    @contextmanager
    def observing(self, observe: Observe, *, with_relu: bool) -> Iterator[None]:
        length = 0

        def note_length(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            nonlocal length
            length = given[0].shape[1]

        def show(expert: int, values: Tensor, relu: Tensor | None, token: Tensor) -> None:
            routed = torch.stack([token // length, token % length], dim=1)
            first = expert * values.shape[-1]
            observe(Coefficients(self.index, first, values, relu, routed))

        handle = self.block.register_forward_pre_hook(note_length)
        try:
            with observing(self.experts, show, with_relu=with_relu):
                yield
        finally:
            handle.remove()


@dataclass(frozen=True)
class FeedForward:
    """The feed-forward layers of a model, l = 0…num_layers-1, each with m memories of width d."""

    layers: Sequence[_Dense | _Mixture]
    is_gated: bool
    """Whether coefficient i is linear in row i of the up projection."""

    @property
    def num_layers(self) -> int:
        """Number of feed-forward layers L."""
        return len(self.layers)

    @property
    def num_memories(self) -> int:
        """Number of memories m of a layer: neurons, of all experts together."""
        return self.layers[0].num_memories

    def memory_vectors(self, layer: int) -> Tensor:
        """Return the memory vectors (m, d) of a layer."""
        return self.layers[layer].memory_vectors()

    def keys(self, layer: int) -> list[Tensor]:
        """Return the rows (m, d) that produce coefficient i: [gate, up], or [up] if ungated.

        Biases are not included.
        """
        rows = self.layers[layer].rows()
        return [weight.reshape(-1, weight.shape[-1]) for weight, _ in rows]

    def up_rows(self, layer: int) -> Rows:
        """Return a layer's rows of the up projection: the only keys of an ungated layer."""
        return self.layers[layer].rows()[-1]

    def vector_rows(self, layer: int) -> Rows:
        """Return a layer's memory vectors as rows that can be changed in place."""
        return self.layers[layer].vector_rows()

    @contextmanager
    def observing(self, observe: Observe, *, with_relu: bool = False) -> Iterator[None]:
        """Call ``observe`` in each forward pass, for every layer.

        Args:
            observe: gets a layer's coefficients as they are used; in a mixture once for each expert
                that at least one token is routed to.
            with_relu: also compute ``Coefficients.relu``: relu(gate) · up, or relu(up) if ungated.
        """
        with ExitStack() as stack:
            for layer in self.layers:
                stack.enter_context(layer.observing(observe, with_relu=with_relu))
            yield


def feed_forward(model: PreTrainedModel) -> FeedForward:
    """Find the feed-forward layers of a model of a known architecture.

    Raises:
        UserError: the architecture is unknown.
    """
    family = family_of(model)
    layers: list[_Dense | _Mixture] = []
    for index, layer in enumerate(attrgetter(family.layers)(model.base_model)):
        keys = [attrgetter(name)(layer) for name in family.keys]
        output = attrgetter(family.output)(layer)
        if family.form == "experts":
            layers.append(_Mixture(index, keys[0], output))
        else:
            layers.append(_Dense(index, keys, output, is_fused=family.form == "fused"))
    return FeedForward(layers, is_gated=family.form != "ungated")


def describe_model(model: PreTrainedModel) -> dict[str, Any]:
    """Return a model's architecture and sizes, as a checkpoint's manifest states them."""
    layers = feed_forward(model)
    return {
        "architecture": type(model).__name__,
        "num_layers": layers.num_layers,
        "num_memories": layers.num_memories,
        "hidden_size": model.config.hidden_size,
        "vocab_size": model.config.vocab_size,
    }


def _rows(module: nn.Linear | Conv1D) -> Rows:
    """View a linear layer with one row per output; Conv1D of GPT-2 stores (inputs, outputs)."""
    weight = module.weight.T if isinstance(module, Conv1D) else module.weight
    return Rows(weight, module.bias)
