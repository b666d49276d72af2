"""A dose of entropy while a model learns: beside the loss stands −β · Σₗ H(aˡ) / (L ln m).

aᵢ is the mean of |cᵢ|·‖vᵢ‖ over the tokens of the *whole* batch that are no padding, the
contribution of memory i as ``measuring`` has it, and H(aˡ) the entropy of its shares in layer l. No
rescaling of a memory and its key changes that, so that the dose cannot be met by one.

H is of the whole batch, and no sum over its parts: where the batch is split, over micro-batches or
over ranks, its contributions are summed in a forward pass of their own first. Each part then goes
through H as its own contributions with those of the others held fixed, whose gradients add up to
that of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from ke_steps.models import ranks
from ke_steps.models.feed_forward import Coefficients, FeedForward, feed_forward
from ke_steps.training.log import ENTROPY
from ke_steps.training.trainer import IGNORED_LABEL, StudyTrainer


class Contributions:
    """The sums of |c|·‖v‖ over the tokens of one forward pass, in the autograd graph."""

    def __init__(self, layers: FeedForward, is_counted: Tensor) -> None:
        """Take which tokens (B, T) bool count."""
        self._layers = layers
        self._is_counted = is_counted
        self._norms: dict[int, Tensor] = {}
        self._sums: dict[int, Tensor] = {}

    def add(self, observed: Coefficients) -> None:
        """Add the coefficients of a layer, or of one of its experts."""
        layer, first, values, _, routed = observed
        if layer not in self._norms:
            # now, as a model in parts has a layer's weights only while that layer computes
            vectors = self._layers.memory_vectors(layer)
            dtype = torch.promote_types(vectors.dtype, torch.float32)
            self._norms[layer] = torch.linalg.vector_norm(vectors, dim=1, dtype=dtype)
        counted = self._is_counted if routed is None else self._is_counted[tuple(routed.unbind(1))]
        absolute = values.abs() * counted[..., None]
        dtype = torch.promote_types(values.dtype, torch.float32)
        sums = absolute.flatten(0, -2).sum(0, dtype=dtype)
        rest = self._layers.num_memories - first - len(sums)
        whole = F.pad(sums, (first, rest)) * self._norms[layer]
        self._sums[layer] = self._sums[layer] + whole if layer in self._sums else whole

    def stacked(self) -> Tensor:
        """Return the sums (num_layers, m), fp32 at least."""
        return torch.stack([self._sums[layer] for layer in range(self._layers.num_layers)])


@contextmanager
def contributions(layers: FeedForward, is_counted: Tensor) -> Iterator[Contributions]:
    """Sum the contributions of the forward pass inside the block; ``is_counted`` is (B, T) bool."""
    found = Contributions(layers, is_counted)
    with layers.observing(found.add):
        yield found


def normalized_entropy(activity: Tensor) -> Tensor:
    """Return Σₗ H(aˡ) / (L ln m), from 0 to 1, of activities (num_layers, m) ≥ 0.

    A memory that is silent has no share, and gets no gradient: where no token makes it move, there
    is no direction to wake it. A layer without any activity counts as 0.
    """
    total = activity.sum(dim=1, keepdim=True)
    shares = activity / torch.where(total > 0, total, 1)
    logs = torch.where(shares > 0, shares, 1).log()
    return -(shares * logs).sum(dim=1).mean() / math.log(activity.shape[1])


class DosedTrainer(StudyTrainer):
    """Adds the dose to the gradient; the loss that it tells is the learning loss alone."""

    def __init__(self, model: PreTrainedModel, *, weight: float, **keywords: Any) -> None:
        """Take β."""
        super().__init__(model, **keywords)
        self._layers = feed_forward(model)
        self._weight = weight
        self._waiting: list[dict[str, Tensor]] = []
        self._whole: Tensor | None = None
        self._entropy = math.nan

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Keep this rank's micro-batches of a step until the first of them is used."""
        samples, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._waiting = samples
        return samples, num_items

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a micro-batch, whose gradient is that of the loss with the dose."""
        if self._waiting:
            # not earlier: what begins a step, such as a temperature, has begun by now
            self._whole = self._of_the_batch(self._waiting)
            self._waiting = []
        with contributions(self._layers, _is_counted(inputs)) as found:
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        activity = found.stacked()
        if self._whole is not None:
            activity = activity + (self._whole - activity.detach())
        entropy = normalized_entropy(activity)
        self._entropy = entropy.item()
        # ranks average their gradients, which here have to be added
        push = ranks.num_ranks() * self._weight * entropy
        loss = loss - (push - push.detach())
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Tell the entropy of the step's batch beside its loss."""
        told = {ENTROPY: self._entropy} if "grad_norm" in logs else {}
        super().log({**logs, **told}, start_time)

    def _of_the_batch(self, batch: list[dict[str, Tensor]]) -> Tensor | None:
        """Return the sums (num_layers, m) over micro-batches and ranks; None for a single one."""
        if len(batch) == 1 and ranks.num_ranks() == 1:
            return None
        parts = []
        with torch.no_grad():
            for inputs in batch:
                ids, is_counted = (
                    each.to(self.args.device) for each in (inputs["input_ids"], _is_counted(inputs))
                )
                with contributions(self._layers, is_counted) as found:
                    self.model(input_ids=ids, use_cache=False, logits_to_keep=1)
                parts.append(found.stacked())
        whole = torch.stack(parts).sum(0)
        ranks.add_up(whole)
        return whole


def _is_counted(inputs: dict[str, Tensor]) -> Tensor:
    return inputs["labels"] != IGNORED_LABEL
