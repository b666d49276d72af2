"""A model in parts over the ranks of a job (FSDP, version 2), for models larger than one GPU.

The environment variable ``KE_STEPS_SHARDING=fsdp`` asks for it; otherwise every rank has a whole
model. Parameters stay fp32 and sharded along their first dimension; a decoder layer is gathered
while it computes, embeddings, last norm and head while the model does. With ``precision: bf16`` a
layer is gathered in bf16, to which autocast would round its matrices anyway; its gradient is added
up in fp32, over micro-batches and ranks. What is not in a layer is gathered in fp32, as autocast
leaves embeddings and norms. The ranks add up their gradients once in a step, after its last
micro-batch, where the sum of a whole model's has a place on the device (``has_room``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LRScheduler
from torch.utils._pytree import tree_map_only
from transformers import PreTrainedModel

from ke_steps.job.files import replacing
from ke_steps.models import ranks
from ke_steps.models.parts import compute_buffers, empty_model, family_of
from ke_steps.models.temperature import set_temperature, temperature_of
from ke_steps.training.writing import copied

Result = TypeVar("Result")

WEIGHTS, MOMENTS, RANDOM = "model.", "optimizer.", "random."
"""How a part names what is of the model, of the optimiser's state, and of random generators."""


def is_asked_for() -> bool:
    """Tell whether this job's models are to be sharded."""
    return ranks.num_ranks() > 1 and os.environ.get("KE_STEPS_SHARDING") == "fsdp"


def is_sharded(model: nn.Module) -> bool:
    """Tell whether a model is in parts."""
    return isinstance(model, FSDPModule)


def shard(model: PreTrainedModel, device: torch.device, precision: str) -> None:
    """Keep this rank's part of a model on ``device``, in place; the same model on every rank.

    One on the meta device has its parts there too, until it gets values.
    """
    mesh = init_device_mesh(device.type, (ranks.num_ranks(),))
    in_layers = MixedPrecisionPolicy()
    if precision == "bf16":
        # what comes into a layer stays as it is, as under autocast, which the trainer has on
        in_layers = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for layer in attrgetter(family_of(model).layers)(model.base_model):
        fully_shard(layer, mesh=mesh, mp_policy=in_layers)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    model.call_gathered = lambda function: function()
    register_fsdp_forward_method(model, "call_gathered")


def has_room(num_parameters: int, num_ranks: int, num_bytes: int) -> bool:
    """Tell whether a GPU of so many bytes can hold the gradient of a whole model while it learns.

    That is 4 bytes for each parameter, beside this rank's part of weights, gradient and two
    moments. A quarter is left to what a forward pass keeps.
    """
    return num_parameters * (4 + 16 / num_ranks) <= 0.75 * num_bytes


class Reductions:
    """When the ranks add up their gradients of a sharded model."""

    def __init__(self, model: nn.Module) -> None:
        """Take a model that is in parts, on the device where it is trained."""
        self._model = cast(FSDPModule, model)
        parameters = list(model.parameters())
        device, size = parameters[0].device, sum(each.numel() for each in parameters)
        self._is_deferred = device.type == "cpu" or has_room(
            size, ranks.num_ranks(), torch.cuda.get_device_properties(device).total_memory
        )

    def prepare(self, *, is_last: bool) -> None:
        """Prepare for a micro-batch, which is or is not the last one of its step."""
        self._model.set_requires_gradient_sync(is_last or not self._is_deferred)
        self._model.set_is_last_backward(is_last)


def call_gathered(model: PreTrainedModel, function: Callable[[], Result]) -> Result:
    """Call what uses a model other than by its ``forward``; on every rank."""
    result: Result = model.call_gathered(function) if is_sharded(model) else function()
    return result


def gather_whole(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model with all weights, on the first rank's CPU; called on every rank.

    One that is whole is returned as it is.
    """
    if not is_sharded(model):
        return model
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(model, options=options)
    if not ranks.is_first():
        return model
    gathered = empty_model(model.config, model.config._attn_implementation)
    gathered.load_state_dict(weights, assign=True)
    gathered.tie_weights()
    compute_buffers(gathered, torch.device("cpu"))
    gathered.generation_config = model.generation_config
    set_temperature(gathered, temperature_of(model))
    return gathered


def copy_part(
    model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: LRScheduler, folder: Path
) -> Callable[[], None]:
    """Copy this rank's part of a training: weights, optimiser, scheduler, random generators.

    Returns:
        What writes the copy; the file then appears whole.
    """
    state = optimizer.state_dict()
    tensors = {f"{WEIGHTS}{name}": parameter for name, parameter in model.named_parameters()}
    for number, values in state["state"].items():
        tensors |= {f"{MOMENTS}{number}.{key}": value for key, value in values.items()}
    copies = copied(tree_map_only(DTensor, DTensor.to_local, tensors)) | _random_state()
    metadata = {
        "param_groups": json.dumps(state["param_groups"]),
        "scheduler": json.dumps(scheduler.state_dict()),
    }

    def write() -> None:
        with replacing(part_of(folder, ranks.rank())) as beside:
            save_file(copies, beside, metadata)

    return write


def load_part(
    model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: LRScheduler, folder: Path
) -> None:
    """Read what ``copy_part`` had written, in place, but for the random generators."""
    with safe_open(part_of(folder, ranks.rank()), framework="pt") as part:
        _load_weights(model, part)
        _load_optimizer(optimizer, part)
        scheduler.load_state_dict(json.loads(part.metadata()["scheduler"]))


def load_random_state(folder: Path) -> None:
    """Set torch's random generators to where they were when ``copy_part`` copied them."""
    with safe_open(part_of(folder, ranks.rank()), framework="pt") as part:
        torch.set_rng_state(part.get_tensor(f"{RANDOM}cpu"))
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(part.get_tensor(f"{RANDOM}cuda"))


def _random_state() -> dict[str, Tensor]:
    of_gpu = {f"{RANDOM}cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {f"{RANDOM}cpu": torch.get_rng_state()} | of_gpu


def _load_weights(model: nn.Module, part: Any) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            cast(DTensor, parameter).to_local().copy_(part.get_tensor(f"{WEIGHTS}{name}"))


def _load_optimizer(optimizer: torch.optim.Optimizer, part: Any) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name in part.keys():  # noqa: SIM118 # is no mapping
        if name.startswith(MOMENTS):
            number, _, key = name.removeprefix(MOMENTS).partition(".")
            value = part.get_tensor(name)
            is_sharded = key.startswith("exp_avg")
            state.setdefault(int(number), {})[key] = (
                _like(parameters[int(number)], value) if is_sharded else value
            )
    groups = json.loads(part.metadata()["param_groups"])
    optimizer.load_state_dict({"state": state, "param_groups": groups})


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


def part_of(folder: Path, rank: int) -> Path:
    """Return where a rank's part of a saved training is."""
    return folder / f"part_{rank}_of_{ranks.num_ranks()}.safetensors"
