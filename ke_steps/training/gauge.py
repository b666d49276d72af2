"""Learning from a gauge-transformed checkpoint as from the original one.

A gauge makes the rows behind memory i's coefficient s times as large and its vector 1/s: what the
model computes stays. But ∂L/∂(su) = (1/s) ∂L/∂u, and AdamW ignores a constant factor on a gradient,
so that in the original's coordinates the row moves by 1/s of what it would, and the vector by s.

Compensated, each parameter f times its original has f times the learning rate in the adaptive part
of AdamW and 1/f of ε, decays as it would, and counts as f times its gradient where gradients are
clipped by their norm. That is done in the original's coordinates, which need no other optimiser:
the gradient is multiplied by f as it is made, and the parameter divided by f while AdamW steps.
With moments m, v of the gradient g of θ, those of f·g are f·m, f²·v, and

    f · (θ/f · (1 − ηλ) − η · fm / (f√v + ε)) = θ · (1 − ηλ) − fη · m / (√v + ε/f).

The model then learns as the original does, but for rounding, although its absolute H is another.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ke_steps.artefacts.interventions import Intervention, read_intervention
from ke_steps.job.errors import UserError
from ke_steps.models.intervening import intervene


def gauge_of(intervention: Path | None) -> Intervention:
    """Read an intervention that is a gauge and nothing else; of the original checkpoint nothing.

    Raises:
        UserError: it is none.
    """
    if intervention is None:
        return {}
    values = read_intervention(intervention)
    rows = [each for name, each in values.items() if name in ("up_rows", "key_rows")]
    vectors = values.get("memory_vectors")
    if len(values) != 2 or not rows or vectors is None or not np.allclose(rows[0] * vectors, 1):
        raise UserError(
            f"compensate_gauge: {intervention} is no gauge, which has"
            " factors on rows and their inverses on memory vectors: there is nothing to compensate"
        )
    return values


@contextmanager
def compensating(
    model: PreTrainedModel, optimizer: torch.optim.Optimizer, gauge: Intervention
) -> Iterator[None]:
    """Have an optimiser treat a model that a gauge has transformed as the original, in the block.

    Args:
        model: whole; its gradients are those of the original inside the block.
        optimizer: of all its parameters; its state is that of the original's.
        gauge: as it was applied to the model.
    """
    factors = parameter_factors(model, gauge)

    @torch.no_grad()
    def to_original(*_: Any) -> None:
        for parameter, factor in factors:
            parameter.div_(factor)

    @torch.no_grad()
    def back(*_: Any) -> None:
        for parameter, factor in factors:
            parameter.mul_(factor)

    handles = [
        optimizer.register_step_pre_hook(to_original),
        optimizer.register_step_post_hook(back),
        *(parameter.register_hook(factor.mul) for parameter, factor in factors),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def parameter_factors(
    model: PreTrainedModel, gauge: Intervention
) -> list[tuple[nn.Parameter, Tensor]]:
    """Return what a gauge multiplies elements of which parameters by, of each parameter's shape."""
    ones = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in ones.parameters():
            parameter.fill_(1)
    intervene(ones, gauge, where="gauge")
    return [
        (parameter, factor.detach())
        for parameter, factor in zip(model.parameters(), ones.parameters(), strict=True)
        if (factor != 1).any()
    ]
