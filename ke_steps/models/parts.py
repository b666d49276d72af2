"""Models that are in parts over the ranks of a job (FSDP): made without values, then read in parts.

Every parameter of such a model is a ``DTensor`` that is cut along its first dimension: a rank has
consecutive rows, which in a file are consecutive bytes. No rank has all of them at any time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ke_steps.checkpoints.families import Family, find_family
from ke_steps.checkpoints.loaded_names import loaded_names
from ke_steps.checkpoints.tensors import Stored, find_tensors
from ke_steps.job.errors import UserError

Shard = Callable[[PreTrainedModel], None]
"""Cuts a model's parameters into parts, in place; the model may be on the meta device."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""How safetensors calls the dtypes of weights."""


def family_of(model: PreTrainedModel, where: str = "model") -> Family:
    """Return what is known of a model's architecture.

    Raises:
        UserError: it is unknown.
    """
    # one that is in parts is of a class of torch's own making
    return find_family(type(model).__name__.removeprefix("FSDP"), where=where)


def empty_model(config: PreTrainedConfig, attention: str) -> PreTrainedModel:
    """Return a model of fp32 parameters without values, on the meta device, in evaluation mode."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation=attention
        )
    return model.eval()


def compute_buffers(model: PreTrainedModel, device: torch.device) -> None:
    """Give a model's buffers, such as rotary frequencies, the values that its config implies."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.empty_like(buffer, device=device)
    for parameter in model.parameters():
        parameter._is_hf_initialized = True  # whereby transformers leaves it as it is
    model.initialize_weights()


def read_parts(
    directory: Path, config: PreTrainedConfig, attention: str, shard: Shard, device: torch.device
) -> PreTrainedModel:
    """Return a checkpoint's model, of which this rank has its part on ``device``; on every rank.

    Raises:
        UserError: the checkpoint has no tensor for one of the model's parameters.
    """
    model = empty_model(config, attention)
    stored = find_tensors(sorted(directory.glob("*.safetensors")))
    places = {
        name: [stored[each] for each in names]
        for name, names in loaded_names(model, stored).items()
    }
    for copy, original in model.all_tied_weights_keys.items():
        if copy in places:
            places.setdefault(original, places[copy])
    shard(model)
    model.to_empty(device=device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in places:
                raise UserError(f"{directory}: holds no tensor for {name}: get it again")
            rows, width = rows_of(parameter), math.prod(parameter.shape[1:])
            values = _read(places[name], rows.start * width, rows.stop * width)
            local = parameter.to_local()
            local.copy_(values.view(local.shape))
    compute_buffers(model, device)
    return model


def rows_of(parameter: DTensor) -> slice:
    """Return which rows of a parameter this rank has."""
    mesh, num_rows = parameter.device_mesh, len(parameter)
    at_most = -(-num_rows // mesh.size())
    first = min(mesh.get_local_rank() * at_most, num_rows)
    return slice(first, min(first + at_most, num_rows))


@contextmanager
def whole(module: nn.Module) -> Iterator[None]:
    """Give a module its whole parameters on the CPU, to be changed in place inside the block.

    Afterwards each rank has its part of what they are then. Called on every rank; a module that is
    not in parts stays as it is.
    """
    parts = [
        (owner, name, parameter)
        for owner in module.modules()
        for name, parameter in owner.named_parameters(recurse=False)
        if isinstance(parameter, DTensor)
    ]
    for owner, name, part in parts:
        owner._parameters[name] = nn.Parameter(part.full_tensor().detach().cpu())
    try:
        yield
        with torch.no_grad():
            for owner, name, part in parts:
                part.to_local().copy_(owner.get_parameter(name)[rows_of(part)])
    finally:
        for owner, name, part in parts:
            owner._parameters[name] = part


def _read(places: Sequence[Stored], first: int, last: int) -> Tensor:
    """Return the values first…last-1 (fp32) of tensors that follow one another."""
    found, begin = [], 0
    for place in places:
        dtype = DTYPES[place.dtype]
        end = begin + (place.end - place.begin) // dtype.itemsize
        start, stop = max(first, begin), min(last, end)
        if start < stop:
            offset = place.begin + (start - begin) * dtype.itemsize
            count = (stop - start) * dtype.itemsize
            raw = np.fromfile(place.path, np.uint8, count, offset=offset)
            found.append(torch.from_numpy(raw).view(dtype).float())
        begin = end
    return torch.cat(found) if found else torch.empty(0)
