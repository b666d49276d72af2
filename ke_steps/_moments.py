"""Moments of memory coefficients, summed on the device while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ke_steps._errors import UserError
from ke_steps._models import FeedForward

CHUNK_ELEMENTS = {"cpu": 2**18, "cuda": 2**24}
"""Coefficients reduced at a time, so that what is made of them stays in the cache."""


@dataclass(frozen=True)
class Moments:
    """Moments of the coefficients over tokens, then instances; fp64."""

    group_absolute: NDArray[np.float64]
    """(num_layers, num_groups, m): |c|, per group of instances."""

    signed: NDArray[np.float64]
    """(num_layers, m): c."""

    square: NDArray[np.float64]
    """(num_layers, m): c²."""

    active: NDArray[np.float64]
    """(num_layers, m): [|c| > active_threshold]."""


class RunningMoments:
    """Sums of per-instance moments in fp64 on the device, fed by hooks during a forward pass."""

    def __init__(
        self,
        layers: FeedForward,
        num_groups: int,
        active_threshold: float,
        device: torch.device,
    ) -> None:
        num_layers, m = layers.num_layers, layers.num_memories
        float64, shape = torch.float64, (num_layers, num_groups, m)
        self._group_absolute = torch.zeros(shape, dtype=float64, device=device)
        self._others = torch.zeros((num_layers, 3, m), dtype=float64, device=device)
        self._active_threshold = active_threshold
        self._device = device

    def start_batch(self, group: Tensor, num_tokens: Tensor, divisors: Tensor) -> None:
        """Say which group, tokens and divisor the instances (B,) of the next forward have."""
        self._group = group.to(self._device)
        self._num_tokens = num_tokens.to(self._device)
        self._divisors = divisors.to(self._device)[:, None]
        self._shortest = int(num_tokens.min())

    @contextmanager
    def watching(self, projections: list[nn.Linear]) -> Iterator[None]:
        """Add the inputs of the output projections of all layers while the block runs."""
        handles = [
            projection.register_forward_pre_hook(self._hook(layer))
            for layer, projection in enumerate(projections)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: self._add(layer, inputs[0])

    def _add(self, layer: int, c: Tensor) -> None:
        if self._shortest < c.shape[1]:
            position = torch.arange(c.shape[1], device=self._device)
            c = c.masked_fill((position >= self._num_tokens[:, None])[..., None], 0)
        means = sum_over_tokens(c, self._active_threshold).double() / self._divisors
        self._group_absolute[layer].index_add_(0, self._group, means[0])
        self._others[layer] += means[1:].sum(1)

    def finish(self, num_instances: int) -> Moments:
        """Return the means over instances."""
        num_groups = self._group_absolute.shape[1]
        absolute = (self._group_absolute / (num_instances // num_groups)).cpu().numpy()
        signed, square, active = (self._others / num_instances).cpu().numpy().swapaxes(0, 1)
        broken = np.flatnonzero(~np.isfinite(square).all(axis=1))
        if len(broken):
            raise UserError(f"coefficients of layer {broken[0]} are not finite; try precision fp32")
        return Moments(absolute, signed, square, active)


def sum_over_tokens(c: Tensor, active_threshold: float) -> Tensor:
    """Return the sums over tokens (4, B, m) fp32 of |c|, c, c² and [|c| > active_threshold].

    Sums are fp32; each term keeps the dtype of ``c`` (B, T, m). A chunk is small enough for its
    absolute values and squares to stay in the cache, which on a CPU is several times as fast as
    whole tensors (see benchmarks/extraction.py).
    """
    chunk = CHUNK_ELEMENTS[c.device.type]
    batch_size, length, m = c.shape
    sums = c.new_zeros(4, batch_size, m, dtype=torch.float32)
    instances = max(1, chunk // (length * m))
    for first in range(0, batch_size, instances):
        rows = slice(first, first + instances)
        for part in c[rows].split(max(1, chunk // m), dim=1):
            absolute = part.abs()
            terms = sums[:, rows]
            terms[0] += absolute.sum(1, dtype=torch.float32)
            terms[1] += part.sum(1, dtype=torch.float32)
            terms[2] += part.square().sum(1, dtype=torch.float32)
            terms[3] += absolute.gt_(active_threshold).sum(1, dtype=torch.float32)
    return sums
