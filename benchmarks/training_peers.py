"""Other ways to train on the same batches: a loop, compiled or not, and the stock ``Trainer``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
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

    def __init__(self, device: torch.device, read: Callable[[], float] = time.perf_counter) -> None:
        self._device = device
        self._read = read
        self._times: list[float] = []

    def note(self) -> None:
        """Note the time at which all that was asked of the device is done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self._times.append(self._read())

    def result(self, first_loss: float) -> NDArray[np.float64]:
        """Return (seconds of all steps, loss of the first one)."""
        return np.array([self._times[-1] - self._times[0], first_loss])


NewClock = Callable[[], Clock]


def bare_loop(
    model: PreTrainedModel,
    sequences: TrainingSequences,
    optimisation: Optimisation,
    new_clock: NewClock,
    *,
    compiled: bool,
) -> Measurement:
    """Return forward, backward, clipping and AdamW, with a look at each step's loss.

    Compiled is the model as a whole, its loss included.
    """
    size = optimisation.micro_batch_size_sequences
    rows = np.stack([sequences[item] for item in range(len(sequences))])
    batches = torch.from_numpy(rows).split(optimisation.batch_size_sequences)
    num_micro_batches = optimisation.batch_size_sequences // size
    computed: Any = torch.compile(model, dynamic=False) if compiled else model

    def train_on(batch: Tensor, optimizer: torch.optim.Optimizer) -> float:
        loss = torch.zeros((), device=model.device)
        for part in batch.split(size):
            input_ids = part.to(model.device, torch.long)
            with torch.autocast(
                model.device.type, torch.bfloat16, enabled=optimisation.precision == "bf16"
            ):
                share = computed(input_ids, labels=input_ids, use_cache=False).loss
            (share / num_micro_batches).backward()
            loss += share.detach() / num_micro_batches
        torch.nn.utils.clip_grad_norm_(model.parameters(), optimisation.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    def measure() -> NDArray[np.float64]:
        model.train()
        clock = new_clock()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=optimisation.learning_rate, betas=BETAS, eps=EPSILON, fused=True
        )
        clock.note()
        losses = [train_on(batch, optimizer) for batch in batches]
        clock.note()
        return clock.result(losses[0])

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
    model: PreTrainedModel,
    sequences: TrainingSequences,
    plan: Optimisation,
    new_clock: NewClock,
    collator: Collator,
) -> Measurement:
    """Return transformers' own ``Trainer`` with the same schedule, batch and clipping."""

    def measure() -> NDArray[np.float64]:
        clock = new_clock()
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
