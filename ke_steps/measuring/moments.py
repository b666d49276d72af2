"""Means of what is made of memory coefficients, summed on the device while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ke_steps.job.errors import UserError
from ke_steps.measuring.instances import Instances
from ke_steps.models import ranks
from ke_steps.models.feed_forward import Coefficients, FeedForward

CHUNK_ELEMENTS = {"cpu": 2**18, "cuda": 2**24}
"""Coefficients reduced at a time, so that what is made of them stays in the cache."""

Terms = Callable[..., Iterator[Tensor]]
"""Yields what is summed, from tensors of one shape; each term is used up before the next is made,
so that it may be made of the last one in place."""


def coefficient_terms(
    c: Tensor, relu: Tensor | None = None, *, active_threshold: float
) -> Iterator[Tensor]:
    """Yield |c|, c, c², [|c| > active_threshold] and, where there is one, |relu|.

    The threshold is a number of the dtype of c: torch would round any other to the nearest.
    """
    absolute = c.abs()
    yield absolute
    yield c
    yield c.square()
    yield absolute.gt_(active_threshold)
    if relu is not None:
        yield relu.abs()


def rounded_down(threshold: float, dtype: torch.dtype) -> float:
    """Return the largest number of a dtype that is no larger: as many of them are above it."""
    nearest = torch.tensor(threshold, dtype=dtype)
    if nearest.item() > threshold:
        nearest = torch.nextafter(nearest, torch.tensor(-torch.inf, dtype=dtype))
    return nearest.item()


class GroupMeans:
    """Means of terms over tokens, then over the instances of each group, for every memory.

    Sums are fp32 within a batch, fp64 across batches. In a mixture of experts the coefficient of
    a token that is not routed to an expert is zero, and every token of the instance counts.
    """

    def __init__(
        self,
        names: Sequence[str],
        terms: Terms,
        layers: FeedForward,
        num_groups: int,
        device: torch.device,
    ) -> None:
        shape = (len(names), layers.num_layers, num_groups, layers.num_memories)
        self._means = torch.zeros(shape, dtype=torch.float64, device=device)
        self._names = names
        self._terms = terms
        self._device = device

    def start_batch(self, batch: Instances) -> None:
        """Say which instances the next forward pass holds: a run of those of each group."""
        groups, sizes = torch.unique_consecutive(batch.group, return_counts=True)
        self._groups, self._sizes = groups.tolist(), sizes.tolist()
        self._num_counted = batch.num_counted.to(self._device)
        self._divisors = batch.divisors.to(self._device)[:, None]
        self._shortest = int(batch.num_counted.min())

    def add(self, observed: Coefficients, *others: Tensor) -> None:
        """Add the terms of the observed coefficients, and of other tensors of the same shape."""
        tensors = [observed.values, *others]
        num_terms, num_instances = len(self._names), len(self._divisors)
        if observed.routed is None:
            sums = sum_over_tokens(self._terms, num_terms, self._without_padding(tensors))
        else:
            instance, position = observed.routed.unbind(1)
            counted = position < self._num_counted[instance]
            sums = sum_over_routed_tokens(
                self._terms,
                num_terms,
                [tensor[counted] for tensor in tensors],
                instance[counted],
                num_instances,
            )
        memories = slice(observed.first_memory, observed.first_memory + sums.shape[-1])
        means = self._means[:, observed.layer, :, memories]
        shares = (sums.double() / self._divisors).split(self._sizes, dim=1)
        for group, share in zip(self._groups, shares, strict=True):
            means[:, group] += share.sum(1)

    def _without_padding(self, tensors: list[Tensor]) -> list[Tensor]:
        length = tensors[0].shape[1]
        if self._shortest == length:
            return tensors
        position = torch.arange(length, device=self._device)
        padding = (position >= self._num_counted[:, None])[..., None]
        return [tensor.masked_fill(padding, 0) for tensor in tensors]

    def finish(self, num_instances: int) -> dict[str, NDArray[np.float64]]:
        """Return the means (num_layers, num_groups, m) of each term over all ranks' instances.

        Raises:
            UserError: one is not finite.
        """
        ranks.add_up(self._means)
        num_groups = self._means.shape[2]
        means = (self._means / (num_instances // num_groups)).cpu().numpy()
        for name, values in zip(self._names, means, strict=True):
            broken = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
            if len(broken):
                raise UserError(
                    f"coefficients of layer {broken[0]} are not finite ({name}); try precision fp32"
                )
        return dict(zip(self._names, means, strict=True))


def sum_over_tokens(terms: Terms, num_terms: int, tensors: Sequence[Tensor]) -> Tensor:
    """Return the sums over tokens (num_terms, B, m) fp32 of terms of tensors (B, T, m).

    Sums are fp32; each term keeps the dtype of its tensors. A chunk is small enough for its terms
    to stay in the cache, which on a CPU is several times as fast as whole tensors (see
    benchmarks/extraction.py).
    """
    chunk = CHUNK_ELEMENTS[tensors[0].device.type]
    batch_size, length, m = tensors[0].shape
    sums = tensors[0].new_zeros(num_terms, batch_size, m, dtype=torch.float32)
    instances, tokens = max(1, chunk // (length * m)), max(1, chunk // m)
    for first in range(0, batch_size, instances):
        rows = slice(first, first + instances)
        for parts in zip(*(tensor[rows].split(tokens, dim=1) for tensor in tensors), strict=True):
            for total, term in zip(sums[:, rows], terms(*parts), strict=True):
                total.add_(term.sum(1, dtype=torch.float32))
    return sums


def sum_over_routed_tokens(
    terms: Terms, num_terms: int, tensors: Sequence[Tensor], instance: Tensor, num_instances: int
) -> Tensor:
    """Return the sums (num_terms, num_instances, n) fp32 of terms of tensors (K, n) by instance.

    ``instance`` (K,) int64 says which instance each row belongs to.
    """
    n = tensors[0].shape[-1]
    rows = max(1, CHUNK_ELEMENTS[tensors[0].device.type] // n)
    sums = tensors[0].new_zeros(num_terms, num_instances, n, dtype=torch.float32)
    split = [tensor.split(rows) for tensor in (instance, *tensors)]
    for of_rows, *parts in zip(*split, strict=True):
        for total, term in zip(sums, terms(*parts), strict=True):
            total.index_add_(0, of_rows, term.float())
    return sums
