"""transformers' ``Trainer`` as this study uses it: its optimiser, its batches, its saved state."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LRScheduler
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_NAME

from ke_steps.texts.tokenizers import Tokenizer
from ke_steps.training.compiling import Compiled
from ke_steps.training.sharding import (
    Reductions,
    copy_part,
    is_sharded,
    load_part,
    load_random_state,
)
from ke_steps.training.writing import Writer, copied

BETAS = (0.9, 0.95)
EPSILON = 1e-5
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
    """Stops at what is not finite, counts no operations, leaves a sharded model to ``Parts``.

    The optimiser of a model that is not sharded, and random states, are saved in Trainer's own
    format, which it reads with ``weights_only``, after ``training.resuming`` has compared their
    hashes.

    Three private methods are overridden, as no public hook stands in their place; a test says
    which, and tells when a release of transformers changes them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        writer: Writer,
        compiled: Compiled | None = None,
        **keywords: Any,
    ) -> None:
        """Take what writes saved states, what is compiled, and Trainer's own keywords."""
        num_threads = torch.get_num_threads()
        super().__init__(model, **keywords)
        torch.set_num_threads(num_threads)  # which accelerate changes under several CPU ranks
        # Trainer reads from the name of a model's class whether its loss leaves out the first token
        # of each sequence, as all of these do; GPT-2's name does not say so
        self._loss_shifts_labels = True
        self._reductions = Reductions(model) if is_sharded(model) else None
        self._writer = writer
        self._compiled = compiled
        self._batch_loss: Tensor | float = 0.0
        if self._reductions:
            # what tells Trainer that it need neither wrap nor shard the model
            self.is_distributed_loading_by_transformers = True

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: walking over all modules at every step costs more than it tells."""
        return 0

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Add a micro-batch to the gradient."""
        is_last = self.accelerator.sync_gradients
        if self._reductions:
            self._reductions.prepare(is_last=is_last)
        with self._compiled.in_use() if self._compiled else nullcontext():
            loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._batch_loss = self._batch_loss + loss
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clip the gradient of a whole batch, whose norm is computed once, and return that.

        Raises:
            DivergedError: the batch's loss or its gradient's norm is not finite.
        """
        parameters = [each for each in self.model.parameters() if each.grad is not None]
        norm = nn.utils.get_total_norm([each.grad for each in parameters])
        whole_norm: Tensor = norm.full_tensor() if isinstance(norm, DTensor) else norm
        loss = self.accelerator.gather(self._batch_loss).mean()
        self._batch_loss = 0.0
        if not (torch.isfinite(loss) & torch.isfinite(whole_norm)):
            logs = {"loss": loss.item(), "grad_norm": whole_norm.item()}
            logs["learning_rate"] = self.lr_scheduler.get_last_lr()[0]
            raise DivergedError(self.state.global_step + 1, logs)
        nn.utils.clip_grads_with_norm_(parameters, self.args.max_grad_norm, norm)
        return whole_norm

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Have the weights written, by the names of the model's parameters, and nothing else."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self._writer.begin()
        if self.args.should_save and not self._reductions:
            weights = copied(dict(self.model.named_parameters()))
            self._writer.add(lambda: save_file(weights, folder / SAFE_WEIGHTS_NAME))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Have the optimiser's state written; the scheduler's is small."""
        if self.args.should_save:
            folder, state = Path(output_dir), copied(self.optimizer.state_dict())
            self._writer.add(lambda: torch.save(state, folder / OPTIMIZER_NAME))
            torch.save(self.lr_scheduler.state_dict(), folder / SCHEDULER_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self._reductions:
            weights = load_file(Path(resume_from_checkpoint) / SAFE_WEIGHTS_NAME)
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    parameter.copy_(weights[name])


class Parts(TrainerCallback):
    """Saves and loads the training of a sharded model, of which every rank has its own part."""

    def __init__(self, saved: Path | None, writer: Writer) -> None:
        """Take the folder of the state to go on from, None to start anew, and what writes one."""
        self._saved = saved
        self._writer = writer

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PreTrainedModel,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: LRScheduler,
        **kwargs: Any,
    ) -> None:
        """Go on from what was saved."""
        if self._saved is not None:
            load_part(model, optimizer, lr_scheduler, self._saved)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the random generators: not earlier, as skipping the batches done draws from them."""
        if self._saved is not None:
            load_random_state(self._saved)
            self._saved = None

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PreTrainedModel,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: LRScheduler,
        **kwargs: Any,
    ) -> None:
        """Add this rank's part to what is being saved."""
        folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        self._writer.add(copy_part(model, optimizer, lr_scheduler, folder))


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
        """Return ``input_ids`` and ``labels`` (B, T) int64; padding is no target."""
        input_ids = torch.from_numpy(np.stack(rows).astype(np.int64))
        if self._pad_token_id is None:
            return {"input_ids": input_ids, "labels": input_ids}
        is_pad = input_ids == self._pad_token_id
        return {"input_ids": input_ids, "labels": input_ids.masked_fill(is_pad, IGNORED_LABEL)}
