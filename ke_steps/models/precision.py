"""In which precision a model computes: fp32, TF32 products of fp32 numbers, or bf16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ke_steps.job.errors import UserError
from ke_steps.settings.types import Precision

TF32_CAPABILITY = (8, 0)
"""Of the first GPUs that have it (Ampere)."""


@contextmanager
def computing(device: torch.device, precision: Precision) -> Iterator[None]:
    """Run what is inside in a precision, on fp32 parameters; ``bf16`` is autocast.

    Raises:
        UserError: TF32 on a device that has none.
    """
    with (
        products(device, precision),
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        yield


@contextmanager
def products(device: torch.device, precision: Precision) -> Iterator[None]:
    """Let fp32 products be of TF32 where that is the precision, and of no other precision.

    Raises:
        UserError: TF32 on a device that has none.
    """
    if precision == "tf32" and not has_tf32(device):
        raise UserError(
            "precision tf32 needs a GPU of compute capability 8.0 or newer, this job runs on"
            f" {_name(device)}: take fp32 or bf16"
        )
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(usual)


def has_tf32(device: torch.device) -> bool:
    """Tell whether a device multiplies in TF32."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= TF32_CAPABILITY


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
