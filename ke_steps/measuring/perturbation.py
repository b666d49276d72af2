"""How a model answers to changes of its parameters: gradient norms, and sensitivity to noise.

Sensitivity: ΔL(γ) = E_ε[L(θ + γ ‖θ_l‖ ε / ‖ε‖) − L(θ)], with ε normal and each tensor θ_l of a
group getting noise of γ times its own norm (Springer et al., arXiv 2503.19206). Each draw takes the
mean over ε and −ε: in the expectation the slope of L cancels, and so it does in every draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from ke_steps.job.errors import UserError


def norm_of(tensors: Sequence[Tensor]) -> float:
    """Return the norm of tensors joined, summed in fp64; 0 of none."""
    norms = [torch.linalg.vector_norm(each.detach(), dtype=torch.float64) for each in tensors]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0


def gradient_norms(
    model: PreTrainedModel,
    groups: Mapping[str, Sequence[torch.nn.Parameter]],
    sequences: NDArray[np.int32],
    *,
    batch_size_sequences: int,
) -> dict[str, float]:
    """Return, by group of parameters, the norm of the gradient of the mean next-token loss.

    The mean is over all targets of the sequences (N, T); the model is left without gradients.

    Raises:
        UserError: a gradient is not finite.
    """
    model.requires_grad_(True)
    for first in range(0, len(sequences), batch_size_sequences):
        rows = sequences[first : first + batch_size_sequences].astype(np.int64)
        input_ids = torch.from_numpy(rows).to(model.device)
        loss = model(input_ids=input_ids, labels=input_ids, use_cache=False).loss
        (loss * (len(rows) / len(sequences))).backward()
    norms = {
        name: norm_of([each.grad for each in parameters if each.grad is not None])
        for name, parameters in groups.items()
    }
    model.zero_grad(set_to_none=True)
    model.requires_grad_(False)
    if not np.isfinite(list(norms.values())).all():
        raise UserError("the gradient on the new text is not finite")
    return norms


@torch.no_grad()
def loss_rises(
    parameters: Sequence[Tensor],
    loss: Callable[[], float],
    before: float,
    scales: Sequence[float],
    seeds: Sequence[int],
) -> NDArray[np.float64]:
    """Return the mean of L(θ ± noise), less L(θ), (num_scales, num_draws).

    Parameters end as they were, to the bit.

    Args:
        parameters: the tensors that get noise, of γ times their own norm each.
        loss: of the model that they are part of.
        before: L(θ).
        scales: γ; every draw's direction is the same at all of them.
        seeds: one for each draw, on the device of the parameters.
    """
    kept = [each.detach().clone() for each in parameters]
    found = np.empty((len(scales), len(seeds)))
    for draw, seed in enumerate(seeds):
        for number, scale in enumerate(scales):
            both = []
            for sign in (1, -1):
                with _noise(parameters, kept, sign * scale, seed):
                    both.append(loss() - before)
            found[number, draw] = np.mean(both)
    return found


@contextmanager
def _noise(
    parameters: Sequence[Tensor], kept: Sequence[Tensor], scale: float, seed: int
) -> Iterator[None]:
    # drawn anew for each scale, so that no third copy of the parameters is in memory
    generator = torch.Generator(device=kept[0].device).manual_seed(seed) if kept else None
    for parameter, values in zip(parameters, kept, strict=True):
        noise = torch.empty_like(values).normal_(generator=generator)
        length = torch.linalg.vector_norm(noise, dtype=torch.float64)
        norm = torch.linalg.vector_norm(values, dtype=torch.float64)
        parameter.add_(noise, alpha=float(scale * norm / length))
    try:
        yield
    finally:
        for parameter, values in zip(parameters, kept, strict=True):
            parameter.copy_(values)
