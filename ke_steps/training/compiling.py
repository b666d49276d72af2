"""Training passes compiled by torch: each decoder layer and the loss, as one graph each.

Numbers differ from those of single operations in rounding, and are the same in each run. Whatever
else calls the model (probes, the passes of a dose) does so without what was compiled, as hooks that
come later would be passed over.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter

import torch
from transformers import PreTrainedModel

from ke_steps.job.errors import UserError
from ke_steps.models.parts import family_of
from ke_steps.training.sharding import is_asked_for


def refuse_compilation(device: torch.device, *, is_dosed: bool, is_tempered: bool) -> None:
    """Refuse to compile where it cannot be done, or where no graph would serve two steps.

    Raises:
        UserError: which says what to do without.
    """
    if is_dosed or is_tempered:
        key = "contribution_entropy_weight" if is_dosed else "a course of attention's temperature"
        raise UserError(f"compile: not together with {key}; set compile: false")
    if is_asked_for():
        raise UserError("compile: not with cluster.sharding: fsdp; take ddp")
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise UserError(f"compile: needs a C++ compiler, and there is no {compiler}; install one")
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UserError("compile: needs the package triton on a GPU; install it")


class Compiled:
    """What of a model is compiled, when it is first used."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Take the model that is trained, whole."""
        self._model = model
        self._layers = list(attrgetter(family_of(model).layers)(model.base_model))
        self._calls = [torch.compile(each._call_impl, dynamic=False) for each in self._layers]
        self._loss = model.loss_function
        self._compiled_loss = torch.compile(self._loss, dynamic=False)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Have the model's own forward pass use it inside the block."""
        for layer, call in zip(self._layers, self._calls, strict=True):
            layer._compiled_call_impl = call
        self._model.loss_function = self._compiled_loss
        try:
            yield
        finally:
            for layer in self._layers:
                layer._compiled_call_impl = None
            self._model.loss_function = self._loss
