"""A model in parts over the ranks of a job (FSDP, version 2), for models larger than one GPU.

The environment variable ``KE_STEPS_SHARDING=fsdp`` asks for it; otherwise every rank has a whole
model. Parameters stay fp32 and sharded along their first dimension; a decoder layer is gathered
while it computes, embeddings, last norm and head while the model does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_map_only
from transformers import PreTrainedModel

from ke_steps import _ranks
from ke_steps._families import find_family

Result = TypeVar("Result")


def is_asked_for() -> bool:
    """Tell whether this job's models are to be sharded."""
    return _ranks.num_ranks() > 1 and os.environ.get("KE_STEPS_SHARDING") == "fsdp"


def is_sharded(model: nn.Module) -> bool:
    """Tell whether a model is in parts."""
    return isinstance(model, FSDPModule)


def shard(model: PreTrainedModel, device: torch.device) -> None:
    """Keep this rank's part of a model on ``device``, in place; the same model on every rank."""
    mesh = init_device_mesh(device.type, (_ranks.num_ranks(),))
    family = find_family(type(model).__name__, where="model")
    for layer in attrgetter(family.layers)(model.base_model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    model.call_gathered = lambda function: function()
    register_fsdp_forward_method(model, "call_gathered")


def call_gathered(model: PreTrainedModel, function: Callable[[], Result]) -> Result:
    """Call what uses a model other than by its ``forward``; on every rank."""
    result: Result = model.call_gathered(function) if is_sharded(model) else function()
    return result


def whole(model: PreTrainedModel, build: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """Return a model with all weights, on the first rank's CPU; called on every rank.

    Args:
        model: returned as it is when it is whole.
        build: makes a model of the same architecture on the CPU.
    """
    if not is_sharded(model):
        return model
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(model, options=options)
    if not _ranks.is_first():
        return model
    gathered = build()
    gathered.load_state_dict(weights)
    return gathered


def save_part(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Write this rank's part of the weights and of the optimiser's state."""
    state = {"model": dict(model.named_parameters()), "optimizer": optimizer.state_dict()}
    torch.save(tree_map_only(DTensor, DTensor.to_local, state), _part(folder))


def load_weights(model: nn.Module, folder: Path) -> None:
    """Read this rank's part of the weights that ``save_part`` wrote, in place."""
    parts = _read_part(folder)["model"]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            cast(DTensor, parameter).to_local().copy_(parts[name])


def load_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Read this rank's part of the optimiser's state that ``save_part`` wrote, in place."""
    state = _read_part(folder)["optimizer"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, parameter in enumerate(parameters):
        state["state"][number] = {
            key: _like(parameter, value) if key.startswith("exp_avg") else value
            for key, value in state["state"][number].items()
        }
    optimizer.load_state_dict(state)


def _like(parameter: DTensor, part: Tensor) -> Tensor:
    """Make this rank's part of a state one of a tensor that is sharded as a parameter is."""
    sharded: Tensor = DTensor.from_local(
        part.to(parameter.device),
        parameter.device_mesh,
        parameter.placements,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
    return sharded


def _part(folder: Path) -> Path:
    return folder / f"part_{_ranks.rank()}_of_{_ranks.num_ranks()}.pt"


def _read_part(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(_part(folder), map_location="cpu", weights_only=True)
    return state
