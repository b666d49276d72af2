"""How much each memory coefficient matters to the loss: gradient attribution, one backward pass.

The attribution of coefficient c at a token is |c · ∂L/∂c|, to first order the change of the loss
L when c is set to zero; L is the sum of the sequence's next-token losses in nats. Scaling a memory
vector by a and what produces its coefficient by 1/a leaves it as it is.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from ke_steps.measuring.instances import WHOLE, Instances, Shard, batch_places, own_share
from ke_steps.measuring.moments import GroupMeans, Terms
from ke_steps.models.feed_forward import Coefficients, feed_forward
from ke_steps.models.loading import output_logits

CHUNK_POSITIONS = 1024
"""Logits held at a time are (positions, vocabulary) in fp32, twice for their gradient."""


def _add(sums: Tensor, c: Tensor, gradient: Tensor) -> None:
    sums[0].add_(c.mul_(gradient).abs_())


def _reduce(c: Tensor, gradient: Tensor) -> Tensor:
    return torch.linalg.vector_norm(c * gradient, 1, dim=1, dtype=torch.float32)[None]


ATTRIBUTION = Terms(["attribution"], _add, _reduce)
"""|c · ∂L/∂c|."""


def measure_attributions(
    model: PreTrainedModel,
    instances: Instances,
    *,
    batch_size_sequences: int,
    num_groups: int,
    shard: Shard = WHOLE,
) -> NDArray[np.float64]:
    """Return |c · ∂L/∂c| (num_layers, num_groups, m): mean over tokens, then over instances.

    Groups are the shard's. Parameters need no gradient, and have none switched on afterwards.

    Raises:
        UserError: an attribution is not finite.
    """
    layers = feed_forward(model)
    means = GroupMeans(ATTRIBUTION, layers, num_groups, model.device)

    def observe(observed: Coefficients) -> None:
        detached = observed._replace(values=observed.values.detach())
        observed.values.register_hook(lambda gradient: means.add(detached, gradient))

    batches = batch_places(len(instances), batch_size_sequences)
    share = own_share(batches, num_groups, shard)
    model.requires_grad_(False)
    model.enable_input_require_grads()  # the embeddings are where the graph begins
    try:
        with layers.observing(observe):
            for _, batch in instances.in_batches(share.batches, "attributions"):
                means.start_batch(batch)
                _backward(model, batch)
    finally:
        model.disable_input_require_grads()
    return means.finish(len(instances))["attribution"][:, share.groups]


def _backward(model: PreTrainedModel, batch: Instances) -> None:
    input_ids = batch.input_ids.to(model.device)
    hidden = model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
    position = torch.arange(1, input_ids.shape[1])
    is_target = (position < batch.num_counted[:, None]).to(model.device)
    gradient = torch.zeros_like(hidden)
    gradient[:, :-1][is_target] = loss_gradient(
        model, hidden.detach()[:, :-1][is_target], input_ids[:, 1:][is_target]
    )
    hidden.backward(gradient)


def loss_gradient(model: PreTrainedModel, hidden: Tensor, targets: Tensor) -> Tensor:
    """Return the gradient (n, d) of the summed loss of targets (n,) at hidden states (n, d).

    The output layer runs on a chunk of positions at a time, so that no more logits are in memory.
    """
    gradients = []
    for h, target in zip(
        hidden.split(CHUNK_POSITIONS), targets.split(CHUNK_POSITIONS), strict=True
    ):
        h.requires_grad_()
        logits = output_logits(model, h).float()
        loss = F.cross_entropy(logits, target, reduction="sum")
        gradients.extend(torch.autograd.grad(loss, h))
    return torch.cat(gradients)
