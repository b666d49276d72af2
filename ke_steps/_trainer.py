"""transformers' ``Trainer`` as this study uses it: its optimiser, its batches, its saved state."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_pt_utils import nested_gather
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ke_steps import _sharding
from ke_steps._job_files import write_json
from ke_steps._tokenizers import Tokenizer

BETAS = (0.9, 0.95)
EPSILON = 1e-5
SCHEDULER = "scheduler.json"
IGNORED_LABEL = -100
"""The label that transformers' loss leaves out."""


class DivergedError(Exception):
    """A loss or a gradient norm is not a finite number; the optimiser did not step."""

    def __init__(self, step: int, logs: dict[str, float]) -> None:
        """Take the step, 1…num_steps, and its numbers under the names that Trainer logs."""
        super().__init__(step)
        self.step = step
        self.logs = logs


class StudyTrainer(Trainer):
    """Stops at what is not finite, counts no operations, saves sharded models.

    The optimiser of a model that is not sharded, and random states, are saved in Trainer's own
    format, which it reads with ``weights_only``, after ``_resuming`` has compared their hashes.
    """

    def __init__(self, model: PreTrainedModel, **keywords: Any) -> None:
        num_threads = torch.get_num_threads()
        super().__init__(model, **keywords)
        torch.set_num_threads(num_threads)  # which accelerate changes under several CPU ranks
        self._is_sharded = _sharding.is_sharded(model)
        if self._is_sharded:
            # what tells Trainer that it need neither wrap nor shard the model
            self.is_distributed_loading_by_transformers = True

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: walking over all modules at every step costs more than it tells."""
        return 0

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Tensor:
        """Return the norm before clipping; Trainer calls this last before the optimiser steps."""
        norm = torch.as_tensor(super()._get_grad_norm(model, grad_norm=grad_norm))
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        loss = nested_gather(self._tr_loss, self.args.parallel_mode).mean()
        if not (torch.isfinite(loss) & torch.isfinite(norm)):
            logs = {"loss": loss.item(), "grad_norm": norm.item()}
            logs["learning_rate"] = self._get_learning_rate()
            raise DivergedError(self.state.global_step + 1, logs)
        return norm

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save; a state that could not be written whole does not stay to fill the disk."""
        try:
            super()._save_checkpoint(model, trial)
        except Exception:
            name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            shutil.rmtree(Path(self.args.output_dir) / name, ignore_errors=True)
            raise

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write the weights, and not Trainer's arguments, which would have to be unpickled."""
        if self.args.should_save and not self._is_sharded:
            self.model.save_pretrained(output_dir)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self._is_sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        _sharding.save_part(self.model, self.optimizer, folder)
        if self.args.should_save:
            write_json(folder / SCHEDULER, self.lr_scheduler.state_dict())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self._is_sharded:
            _sharding.load_weights(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not self._is_sharded:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        _sharding.load_optimizer(self.optimizer, Path(checkpoint))
        state = json.loads((Path(checkpoint) / SCHEDULER).read_text())
        self.lr_scheduler.load_state_dict(state)


class OneDeviceArguments(TrainingArguments):
    """A process uses one GPU: several would multiply the batch."""

    @property
    def n_gpu(self) -> int:
        """One at most."""
        return min(1, super().n_gpu)


def build_optimizer(
    model: PreTrainedModel, *, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW that decays the matrices of linear layers alone."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}

    def is_matrix(parameter: nn.Parameter) -> bool:
        return parameter.ndim > 1 and id(parameter) not in embeddings

    decayed = [p for p in model.parameters() if is_matrix(p)]
    kept = [p for p in model.parameters() if not is_matrix(p)]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ],
        lr=learning_rate,
        betas=BETAS,
        eps=EPSILON,
        fused=True,
    )


class Collator:
    """Stacks sequences (T,) into a batch whose labels are its own tokens; the model shifts them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        has_own_pad = tokenizer.pad_token_id != tokenizer.eos_token_id
        self._pad_token_id = tokenizer.pad_token_id if has_own_pad else None

    def __call__(self, rows: list[NDArray[np.int32]]) -> dict[str, torch.Tensor]:
        input_ids = torch.from_numpy(np.stack(rows).astype(np.int64))
        if self._pad_token_id is None:
            return {"input_ids": input_ids, "labels": input_ids}
        is_pad = input_ids == self._pad_token_id
        return {"input_ids": input_ids, "labels": input_ids.masked_fill(is_pad, IGNORED_LABEL)}
