"""Other ways to train on the same batches: a loop, compiled or not, and the stock ``Trainer``."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.comparison import Measurement
from ke_steps.training.batches import Optimisation, TrainingSequences
from ke_steps.training.trainer import BETAS, EPSILON, Collator


class Clock:
    """Notes when the first step begins and the last one ends."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._times: list[float] = []

    def note(self) -> None:
        """Note the time at which all that was asked of the device is done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self._times.append(time.perf_counter())

    def result(self, first_loss: float) -> NDArray[np.float64]:
        """Return (seconds of all steps, loss of the first one)."""
        return np.array([self._times[-1] - self._times[0], first_loss])


def bare_loop(
    model: PreTrainedModel,
    sequences: TrainingSequences,
    optimisation: Optimisation,
    *,
    compiled: bool,
) -> Measurement:
    """Return forward, backward and AdamW: neither clips, logs, nor looks at the loss.

    Compiled is the model as a whole, its loss included.
    """
    size = optimisation.micro_batch_size_sequences
    rows = np.stack([sequences[item] for item in range(len(sequences))])
    batches = torch.from_numpy(rows).split(optimisation.batch_size_sequences)
    num_micro_batches = optimisation.batch_size_sequences // size
    computed: Any = torch.compile(model, dynamic=False) if compiled else model

    def train_on(batch: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        loss = torch.zeros((), device=model.device)
        for part in batch.split(size):
            input_ids = part.to(model.device, torch.long)
            with torch.autocast(
                model.device.type, torch.bfloat16, enabled=optimisation.precision == "bf16"
            ):
                share = computed(input_ids, labels=input_ids, use_cache=False).loss
            (share / num_micro_batches).backward()
            loss += share.detach() / num_micro_batches
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def measure() -> NDArray[np.float64]:
        model.train()
        clock = Clock(model.device)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=optimisation.learning_rate, betas=BETAS, eps=EPSILON, fused=True
        )
        clock.note()
        losses = [train_on(batch, optimizer) for batch in batches]
        clock.note()
        return clock.result(losses[0].item())

    return measure


class _Timing(TrainerCallback):
    """Notes the beginning of the first step and the end of the last one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_train_begin(self, *_: Any, **keywords: Any) -> None:
        """Note the time."""
        self._clock.note()

    def on_train_end(self, *_: Any, **keywords: Any) -> None:
        """Note the time."""
        self._clock.note()


def stock_trainer(
    model: PreTrainedModel, sequences: TrainingSequences, collator: Collator, plan: Optimisation
) -> Measurement:
    """Return transformers' own ``Trainer`` with the same schedule, batch and clipping."""

    def measure() -> NDArray[np.float64]:
        clock = Clock(model.device)
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=plan.num_steps,
                per_device_train_batch_size=plan.micro_batch_size_sequences,
                gradient_accumulation_steps=(
                    plan.batch_size_sequences // plan.micro_batch_size_sequences
                ),
                train_sampling_strategy="sequential",
                learning_rate=plan.learning_rate,
                lr_scheduler_type="cosine",
                adam_beta1=BETAS[0],
                adam_beta2=BETAS[1],
                adam_epsilon=EPSILON,
                weight_decay=plan.weight_decay,
                max_grad_norm=plan.max_gradient_norm,
                bf16=plan.precision == "bf16",
                use_cpu=model.device.type == "cpu",
                remove_unused_columns=False,
                logging_first_step=True,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            )
            trainer = Trainer(
                model,
                args=arguments,
                train_dataset=sequences,
                data_collator=collator,
                callbacks=[_Timing(clock)],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        return clock.result(trainer.state.log_history[0]["loss"])

    return measure
