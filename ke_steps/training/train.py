"""Training on packed sequences in their order, by transformers' ``Trainer``.

What pretraining a nursery and injecting knowledge share. The optimiser is the reference's (FACTS,
section 2): AdamW with β = (0.9, 0.95) and ε = 1e-5, where weight decay acts on the matrices of
linear layers alone, not on embeddings (tied or not), norms and biases; gradient clipping by norm;
no dropout; linear warm-up, then a cosine or another course (``training.schedules``).
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import nn
from transformers import PreTrainedModel, PrinterCallback, TrainingArguments

from ke_steps.artefacts.interventions import Intervention
from ke_steps.formulas.divergence import diverged_at
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.job.usage import others_on_gpu
from ke_steps.models import ranks
from ke_steps.models.parts import Shard
from ke_steps.texts.tokenizers import Tokenizer
from ke_steps.training.batches import Optimisation, TrainingSequences, micro_batch_size
from ke_steps.training.compiling import Compiled, refuse_compilation
from ke_steps.training.dosing import DosedTrainer
from ke_steps.training.gauge import compensating
from ke_steps.training.log import StepLog, Watcher
from ke_steps.training.resuming import Saver, Unfinished, noting_signals
from ke_steps.training.schedules import build_schedule
from ke_steps.training.sharding import gather_whole, is_asked_for, shard
from ke_steps.training.tempering import Course, Tempering
from ke_steps.training.trainer import (
    Collator,
    DivergedError,
    OneDeviceArguments,
    Parts,
    StudyTrainer,
    build_optimizer,
)
from ke_steps.training.writing import Writer

Build = Callable[[torch.device, Shard | None], PreTrainedModel]
"""Makes the model to train, fp32 and always the same, on a device; in parts, where it gets how."""


class Trained(NamedTuple):
    """What a training leaves."""

    model: PreTrainedModel
    """On the first rank with all weights; sharded models then are on the CPU."""

    rows: list[dict[str, Any]]
    """Of the training table, one per step."""

    diverged_at_step: int | None


def train(
    build: Build,
    sequences: TrainingSequences,
    optimisation: Optimisation,
    *,
    tokenizer: Tokenizer,
    device: torch.device,
    watcher: Watcher | None = None,
    course: Course | None = None,
    gauge: Intervention | None = None,
    unfinished: Unfinished | None = None,
    save_interval_seconds: float | None = None,
) -> Trained:
    """Train a model on this rank's device, together with the job's other ranks.

    Out of memory on the GPU, training goes on with half the micro-batch, and the same batch, from
    the last saved state.

    Args:
        build: makes the untrained model.
        sequences: as many items as the run consumes.
        optimisation: schedule, batch, optimiser.
        tokenizer: its padding token, when it has one of its own, is no target of the loss.
        device: of this rank.
        watcher: called with the model before the first step and after every one.
        course: of attention's temperature; without it, that stays as built.
        gauge: which transformed the model that is built, and is compensated for; None for none.
        unfinished: where training saves its state and goes on from one; without it, nowhere.
        save_interval_seconds: between two saved states; None for what they cost (``Saver``).

    Raises:
        UserError: the batch cannot be split over the ranks, not one sequence fits the GPU, a gauge
            is to be compensated in a model in parts, or what is asked for cannot be compiled.
        Stopped: by SIGTERM or SIGINT, when the state is saved.
    """
    if ranks.num_ranks() > 1:
        provenance.note("num_ranks", str(ranks.num_ranks()))
    if optimisation.compile:
        is_dosed = optimisation.contribution_entropy_weight != 0
        refuse_compilation(device, is_dosed=is_dosed, is_tempered=course is not None)
    if gauge and is_asked_for():
        raise UserError("compensate_gauge: not with cluster.sharding: fsdp; take ddp")
    micro_batch = micro_batch_size(optimisation, optimisation.micro_batch_size_sequences)
    while True:
        if micro_batch != optimisation.micro_batch_size_sequences:
            provenance.note("micro_batch_size_sequences", str(micro_batch))
        attempt = Attempt(
            sequences, optimisation, micro_batch, tokenizer, watcher or Watcher(), course, gauge
        )
        try:
            return attempt.train(build, device, unfinished, save_interval_seconds)
        except torch.OutOfMemoryError as error:
            shared = others_on_gpu()
            reason = "; ".join(filter(None, [str(error).split(". ")[0], shared]))
        if micro_batch == 1 or ranks.num_ranks() > 1:
            raise UserError(
                f"out of memory with {micro_batch} sequences at a time ({reason}): lower the"
                " recipe's micro_batch_size_sequences, use a GPU with more memory, or several with"
                " cluster.sharding: fsdp"
            )
        if shared:
            provenance.note("gpu_when_out_of_memory", shared)
        # outside of the except clause: the error's frames hold on to the model
        gc.collect()
        torch.cuda.empty_cache()
        halved = micro_batch_size(optimisation, micro_batch // 2)
        print(
            f"out of memory with {micro_batch} sequences at a time ({reason}): going on with"
            f" {halved}, the batch stays as it is",
            file=sys.stderr,
        )
        micro_batch = halved


@dataclass(frozen=True)
class Attempt:
    """One attempt at a training, with one size of the micro-batch."""

    sequences: TrainingSequences
    optimisation: Optimisation
    micro_batch_size_sequences: int
    tokenizer: Tokenizer
    watcher: Watcher
    course: Course | None
    gauge: Intervention | None

    def train(
        self,
        build: Build,
        device: torch.device,
        unfinished: Unfinished | None,
        save_interval_seconds: float | None,
    ) -> Trained:
        """Train as ``train`` does, without going on after a GPU has run out of memory."""
        plan = self.optimisation
        model = _prepare(build, device, plan.precision)
        use_cache = model.config.use_cache
        log = StepLog(model, plan.num_steps, self._num_injected(), self.watcher)
        tempering = self.course and Tempering(model, self.course, plan.num_steps)
        callbacks: list[Any] = [tempering, log] if tempering else [log]
        saved = None
        with ExitStack() as stack:
            if unfinished is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                self.watcher.begin(None)
            else:
                folder = unfinished.folder
                saved = unfinished.begin()
                stack.callback(unfinished.remove_half_written)
                request = stack.enter_context(noting_signals())
                if is_asked_for():
                    callbacks.append(Parts(saved, unfinished.writer))
                callbacks.append(Saver(unfinished, save_interval_seconds, request))
            stack.callback(log.close)
            optimizer = _optimizer(model, plan)
            if self.gauge:
                stack.enter_context(compensating(model, optimizer, self.gauge))
            dose = plan.contribution_entropy_weight
            kind = partial(DosedTrainer, weight=dose) if dose else StudyTrainer
            trainer = kind(
                model,
                args=self._arguments(folder, device),
                train_dataset=self.sequences,
                data_collator=Collator(self.tokenizer),
                optimizers=(optimizer, build_schedule(optimizer, plan)),
                callbacks=callbacks,
                writer=unfinished.writer if unfinished else Writer(),
                compiled=Compiled(model) if plan.compile else None,
            )
            trainer.remove_callback(PrinterCallback)
            try:
                trainer.train(resume_from_checkpoint=None if saved is None else str(saved))
            except DivergedError as divergence:
                if tempering:
                    tempering.set_after(divergence.step - 1)
                log.end_diverged(divergence.step, divergence.logs)
            if unfinished:
                unfinished.finish_writing()
        model.config.use_cache = use_cache  # which Trainer turns off for good
        trained = gather_whole(model)
        return Trained(trained, log.rows, _tell_divergence(log.rows))

    def _num_injected(self) -> Counter[int]:
        batch = self.optimisation.batch_size_sequences
        return Counter(1 + item // batch for item in self.sequences.prefixes)

    def _arguments(self, folder: Path, device: torch.device) -> TrainingArguments:
        plan = self.optimisation
        num_at_once = self.micro_batch_size_sequences * ranks.num_ranks()
        return OneDeviceArguments(
            output_dir=str(folder),
            max_steps=plan.num_steps,
            per_device_train_batch_size=self.micro_batch_size_sequences,
            gradient_accumulation_steps=plan.batch_size_sequences // num_at_once,
            train_sampling_strategy="sequential",
            max_grad_norm=plan.max_gradient_norm,
            bf16=plan.precision == "bf16",
            use_cpu=device.type == "cpu",
            ddp_find_unused_parameters=False,
            remove_unused_columns=False,
            logging_steps=1,
            logging_nan_inf_filter=False,
            disable_tqdm=True,
            save_strategy="no",
            report_to="none",
            **(_of_a_sharded_model() if is_asked_for() else {}),
        )


def _of_a_sharded_model() -> dict[str, Any]:
    """Return the arguments that such a model needs besides.

    What Trainer would save of the optimiser is in the parts. When gradients are added up over the
    ranks is said to the model itself (``sharding.Reductions``), as accelerate does not know it.
    """
    by_parts = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
    return {"save_only_model": True, "accelerator_config": by_parts}


def _prepare(build: Build, device: torch.device, precision: str) -> PreTrainedModel:
    """Return the untrained model where it is to be trained: whole, or this rank's part of it."""
    cut = partial(shard, device=device, precision=precision) if is_asked_for() else None
    model = build(device, cut)
    # the reference has none, and with it a batch would depend on how it is split for the device
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def _optimizer(model: PreTrainedModel, optimisation: Optimisation) -> torch.optim.AdamW:
    return build_optimizer(
        model,
        learning_rate=optimisation.learning_rate,
        weight_decay=optimisation.weight_decay,
    )


def _tell_divergence(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the step at which a run diverged, if it did, and say so."""
    step = diverged_at(pd.DataFrame(rows))
    if step is not None and ranks.is_first():
        last = rows[-1]
        print(
            f"training diverged at step {step}: loss {last['loss_nats']:.4g} nats, gradient norm"
            f" {last['gradient_norm']:.4g}; the run is kept and marked as diverged",
            file=sys.stderr,
        )
    return step
