"""Second moments E[c cᵀ] of a layer's coefficients, summed while the model runs.

The mean over tokens, then over instances, as that of |c|. Of a layer with very many memories only
the moments between drawn ones are summed, beside the squares of all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from ke_steps.job.errors import UserError
from ke_steps.measuring.instances import Instances, batch_places
from ke_steps.models.feed_forward import Coefficients, FeedForward, feed_forward


class Moments(NamedTuple):
    """Of one layer, fp64 on the model's device."""

    squares: Tensor
    """(m,): E[c²] of every memory, the diagonal."""
    products: Tensor
    """(s, s): E[c cᵀ] of the memories that were drawn; all, in their order, where they fit."""


@torch.inference_mode()
def measure_second_moments(
    model: PreTrainedModel,
    instances: Instances,
    *,
    batch_size_sequences: int,
    max_memories: int,
    seed: int,
) -> list[Moments]:
    """Return the second moments of each layer.

    Args:
        model: in evaluation mode, on its device.
        instances: the sequences, and what of them counts.
        batch_size_sequences: instances per forward pass.
        max_memories: of a layer with more, so many are drawn, in all layers the same.
        seed: that they are drawn with.

    Raises:
        UserError: a coefficient is not finite.
    """
    layers = feed_forward(model)
    drawn = drawn_memories(layers.num_memories, max_memories, seed)
    sums = _Sums(layers, torch.from_numpy(drawn).to(model.device), len(instances), model.device)
    places = batch_places(len(instances), batch_size_sequences)
    with layers.observing(sums.add):
        for _, batch in instances.in_batches(places, "second moments"):
            sums.start_batch(batch)
            model.base_model(input_ids=batch.input_ids.to(model.device), use_cache=False)
            sums.finish_layer()
    return sums.finish()


def drawn_memories(num_memories: int, max_memories: int, seed: int) -> NDArray[np.int64]:
    """Return which memories are drawn, ascending; all where no more are there."""
    if num_memories <= max_memories:
        return np.arange(num_memories)
    generator = np.random.default_rng(seed)
    return np.sort(generator.choice(num_memories, max_memories, replace=False))


class _Sums:
    """A layer is finished when the next one begins: its experts come one after another."""

    def __init__(
        self, layers: FeedForward, drawn: Tensor, num_instances: int, device: torch.device
    ) -> None:
        num_layers, m, s = layers.num_layers, layers.num_memories, len(drawn)
        self._squares = torch.zeros(num_layers, m, dtype=torch.float64, device=device)
        self._products = torch.zeros(num_layers, s, s, dtype=torch.float64, device=device)
        self._drawn, self._num_instances = drawn, num_instances
        self._layer: int | None = None

    def start_batch(self, batch: Instances) -> None:
        """Say which instances the next forward pass holds."""
        position = torch.arange(batch.input_ids.shape[1])
        is_counted = position < batch.num_counted[:, None]
        weights = is_counted / (batch.divisors[:, None] * self._num_instances)
        self._roots = weights.sqrt().to(self._drawn.device, torch.float32)  # (B, T)

    def add(self, observed: Coefficients) -> None:
        """Add the coefficients of a layer, or of one of its experts, (…, n)."""
        if observed.layer != self._layer:
            self.finish_layer()
            self._layer = observed.layer
            self._values = self._roots.new_zeros(*self._roots.shape, len(self._drawn))
        n, first = observed.values.shape[-1], observed.first_memory
        columns = (self._drawn >= first) & (self._drawn < first + n)
        wanted = self._drawn[columns] - first
        if observed.routed is None:
            c = observed.values.float() * self._roots[..., None]
            self._values[..., columns] = c[..., wanted]
        else:
            instance, position = observed.routed.unbind(1)
            c = observed.values.float() * self._roots[instance, position, None]
            rows = self._values[instance, position]
            rows[:, columns] = c[:, wanted]
            self._values[instance, position] = rows
        squares = c.square().flatten(0, -2).sum(0, dtype=torch.float64)
        self._squares[observed.layer, first : first + n] += squares

    def finish_layer(self) -> None:
        """Add the products of the layer that was last, if any."""
        if self._layer is not None:
            values = self._values.flatten(0, 1)
            self._products[self._layer] += (values.T @ values).double()
            self._layer = None

    def finish(self) -> list[Moments]:
        """Return the moments of each layer."""
        for layer, squares in enumerate(self._squares):
            if not torch.isfinite(squares).all():
                raise UserError(f"coefficients of layer {layer} are not finite")
        return list(map(Moments, self._squares, self._products))
