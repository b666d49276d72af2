"""Where a job computes: on the GPUs that it asked for, else where it can."""

from __future__ import annotations

import os

import torch

from ke_steps.job.errors import UserError
from ke_steps.job.gpus import ASKED, VISIBLE, driver_words


def choose_device() -> torch.device:
    """Return this rank's GPU, which no other rank has, or the CPU.

    A job that asked for GPUs (see ``job.gpus``) gets no CPU instead. For one that nobody asked,
    such as a step called by hand, a GPU is taken where torch has one.

    Raises:
        UserError: there are fewer usable GPUs than were asked for, or than ranks.
    """
    asked = os.environ.get(ASKED)
    if asked is None and not torch.cuda.is_available():
        return torch.device("cpu")
    wanted = max(int(asked or 1), int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    try:
        # not is_available(): it only warns of what is wrong
        torch.cuda.init()
        number = torch.cuda.device_count()
        if number >= wanted:
            torch.zeros(1, device=device)
            return device
        said = f"it has {number}"
    except (RuntimeError, AssertionError) as error:
        said = f"it says: {str(error).partition(chr(10))[0]}"
    raise UserError(
        f"{wanted} {'GPU was' if wanted == 1 else 'GPUs were'} asked for and torch cannot use"
        f" {'it' if wanted == 1 else 'so many'}: {_torch_words()}, {said}; {driver_words()};"
        f" {VISIBLE} is {os.environ.get(VISIBLE, 'not set')}. Mend that, or ask for fewer:"
        " cluster.jobs of the study, gpu of the profile (PROFILE=local has none)"
    )


def _torch_words() -> str:
    built = torch.version.cuda or torch.version.hip
    return f"torch {torch.__version__} is built for {f'CUDA {built}' if built else 'CPUs'}"
