"""The processes of one job: one per GPU when ``torchrun`` started it, otherwise just one.

Every rank does the same work on its own part of the data; the first one alone writes results.
"""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from torch import distributed

from ke_steps.job.endings import at_success

TIMEOUT = timedelta(hours=2)
"""Of one rank for another: while the first one writes a large model, the others wait."""


def num_ranks() -> int:
    """Return how many processes share this job."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Tell whether this process is the one that writes."""
    return rank() == 0


def join(device: torch.device) -> None:
    """Meet the job's other ranks until it has succeeded; alone, do nothing.

    They talk over NCCL between GPUs and over gloo between CPUs.
    """
    if num_ranks() > 1 and not distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=TIMEOUT)
        at_success(leave)


def add_up(values: torch.Tensor) -> None:
    """Replace ``values`` by their sum over the ranks, in place, on every rank."""
    if num_ranks() > 1:
        distributed.all_reduce(values)


def highest(value: int) -> int:
    """Return the largest of the ranks' values, the same on every rank."""
    if num_ranks() == 1:
        return value
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    values = torch.tensor(value, device=device)
    distributed.all_reduce(values, distributed.ReduceOp.MAX)
    return int(values)


def wait() -> None:
    """Return once every rank has come this far."""
    if num_ranks() > 1:
        distributed.barrier()


def leave() -> None:
    """Part from the other ranks at the end of the job, once all have come this far."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
