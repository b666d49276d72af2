"""Means of what is made of memory coefficients, summed on the device while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ke_steps.job.errors import UserError
from ke_steps.measuring.instances import Instances
from ke_steps.models import ranks
from ke_steps.models.feed_forward import Coefficients, FeedForward

CACHE_ELEMENTS = 2**18
"""Coefficients in hand at a time on a CPU, so that they and their sums stay in the cache."""

GPU_ELEMENTS = 2**24
"""Likewise on a GPU: in its cache in bf16, and few enough that copies of them are small."""


class Terms(NamedTuple):
    """What is summed over tokens, said in the two ways that are fast: on a CPU and on a GPU."""

    names: Sequence[str]

    add: Callable[..., None]
    """Adds the terms of tensors (B, T, n) to their sums (terms, B, T, n) fp32. The first tensor is
    a copy in fp32, which it uses up."""

    reduce: Callable[..., Tensor]
    """Returns the sums over tokens (terms, B, n) fp32 of tensors (B, T, n)."""


def coefficient_terms(active_threshold: float, *, with_relu: bool = False) -> Terms:
    """Return |c|, c, c², [|c| > active_threshold] of coefficients and, with relus, |relu|.

    The threshold is a number of the dtype of c: torch would round any other to the nearest.
    """
    return Terms(
        ["absolute", "signed", "square", "active", *(["relu_gate"] if with_relu else [])],
        partial(_add_moments, active_threshold=active_threshold),
        partial(_reduce_to_moments, active_threshold=active_threshold),
    )


def _add_moments(
    sums: Tensor, c: Tensor, relu: Tensor | None = None, *, active_threshold: float
) -> None:
    sums[1].add_(c)
    sums[2].addcmul_(c, c)
    sums[0].add_(c.abs_())
    sums[3].add_(c.gt_(active_threshold))
    if relu is not None:
        sums[4].add_(c.copy_(relu).abs_())


def _reduce_to_moments(c: Tensor, relu: Tensor | None = None, *, active_threshold: float) -> Tensor:
    norm = partial(torch.linalg.vector_norm, dim=1, dtype=torch.float32)
    num_active = norm(F.hardshrink(c, active_threshold), 0)
    sums = [norm(c, 1), c.sum(1, dtype=torch.float32), norm(c, 2).square_(), num_active]
    return torch.stack(sums if relu is None else [*sums, norm(relu, 1)])


def rounded_down(threshold: float, dtype: torch.dtype) -> float:
    """Return the largest number of a dtype that is no larger: as many of them are above it."""
    nearest = torch.tensor(threshold, dtype=dtype)
    if nearest.item() > threshold:
        nearest = torch.nextafter(nearest, torch.tensor(-torch.inf, dtype=dtype))
    return nearest.item()


class GroupMeans:
    """Means of terms over tokens, then over the instances of each group, for every memory.

    Sums are fp32 within an instance, fp64 beyond. In a mixture of experts the coefficient of
    a token that is not routed to an expert is zero, and every token of the instance counts.
    """

    def __init__(
        self, terms: Terms, layers: FeedForward, num_groups: int, device: torch.device
    ) -> None:
        shape = (len(terms.names), layers.num_layers, num_groups, layers.num_memories)
        self._means = torch.zeros(shape, dtype=torch.float64, device=device)
        self._terms = terms
        self._device = device

    def start_batch(self, batch: Instances) -> None:
        """Say which instances the next forward pass holds: a run of those of each group."""
        groups, sizes = torch.unique_consecutive(batch.group, return_counts=True)
        self._groups, self._sizes = groups.tolist(), sizes.tolist()
        lengths, number = torch.unique_consecutive(batch.num_counted, return_counts=True)
        self._lengths, self._equally_long = lengths.tolist(), number.tolist()
        self._num_counted = batch.num_counted.to(self._device)
        self._divisors = batch.divisors.to(self._device)[:, None]

    def add(self, observed: Coefficients, *others: Tensor) -> None:
        """Add the terms of the observed coefficients, and of other tensors of the same shape."""
        tensors = [observed.values, *others]
        counted = (
            self._without_padding(tensors)
            if observed.routed is None
            else self._by_instance(observed.routed, tensors)
        )
        sums = torch.cat([sum_over_tokens(self._terms, part) for part in counted], dim=1)
        memories = slice(observed.first_memory, observed.first_memory + sums.shape[-1])
        means = self._means[:, observed.layer, :, memories]
        shares = (sums.double() / self._divisors).split(self._sizes, dim=1)
        for group, share in zip(self._groups, shares, strict=True):
            means[:, group] += share.sum(1)

    def _without_padding(self, tensors: list[Tensor]) -> Iterator[list[Tensor]]:
        """Yield the instances of tensors (B, T, n), together those as long."""
        runs = zip(*(tensor.split(self._equally_long) for tensor in tensors), strict=True)
        for length, run in zip(self._lengths, runs, strict=True):
            yield [tensor[:, :length] for tensor in run]

    def _by_instance(self, routed: Tensor, tensors: list[Tensor]) -> Iterator[list[Tensor]]:
        """Yield for each instance (1, k, n) the k rows of tensors (K, n) that count."""
        instance, position = routed.unbind(1)
        counted = position < self._num_counted[instance]
        number = instance[counted].bincount(minlength=len(self._divisors)).tolist()
        for rows in zip(*(tensor[counted].split(number) for tensor in tensors), strict=True):
            yield [row[None] for row in rows]

    def finish(self, num_instances: int) -> dict[str, NDArray[np.float64]]:
        """Return the means (num_layers, num_groups, m) of each term over all ranks' instances.

        Raises:
            UserError: one is not finite.
        """
        ranks.add_up(self._means)
        num_groups = self._means.shape[2]
        means = (self._means / (num_instances // num_groups)).cpu().numpy()
        for name, values in zip(self._terms.names, means, strict=True):
            broken = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
            if len(broken):
                raise UserError(
                    f"coefficients of layer {broken[0]} are not finite ({name}); try precision fp32"
                )
        return dict(zip(self._terms.names, means, strict=True))


def sum_over_tokens(terms: Terms, tensors: Sequence[Tensor]) -> Tensor:
    """Return the sums over tokens (terms, B, n) fp32 of terms of tensors (B, T, n)."""
    on_cpu = tensors[0].device.type == "cpu"
    return sums_in_cache(terms, *tensors) if on_cpu else sums_by_reduction(terms, *tensors)


def sums_in_cache(terms: Terms, values: Tensor, *others: Tensor) -> Tensor:
    """Add up tokens side by side, as many as the cache holds, and these in the end.

    A CPU's threads then have tokens each to themselves, and read each number once from memory (see
    docs/benchmarks.md).
    """
    batch_size, length, n = values.shape
    num_terms = len(terms.names)
    num_tokens = max(1, min(length, CACHE_ELEMENTS // n))
    num_instances = max(1, min(batch_size, CACHE_ELEMENTS // max(1, length * n)))
    sums = values.new_empty(num_terms, num_instances, num_tokens, n, dtype=torch.float32)
    copies = torch.empty_like(sums[0])
    totals = []
    for instances in zip(*(x.split(num_instances) for x in (values, *others)), strict=True):
        of_instances = sums[:, : len(instances[0])].zero_()
        for part, *more in zip(*(x.split(num_tokens, dim=1) for x in instances), strict=True):
            rows, tokens = part.shape[:2]
            terms.add(of_instances[:, :, :tokens], copies[:rows, :tokens].copy_(part), *more)
        totals.append(of_instances.sum(2))
    return torch.cat(totals, dim=1)


def sums_by_reduction(terms: Terms, *tensors: Tensor) -> Tensor:
    """Reduce whole tensors, a few instances at a time: on a GPU each term is one kernel."""
    num_instances = max(1, GPU_ELEMENTS // max(1, tensors[0][0].numel()))
    parts = zip(*(tensor.split(num_instances) for tensor in tensors), strict=True)
    return torch.cat([terms.reduce(*part) for part in parts], dim=1)
