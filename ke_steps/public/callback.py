"""Knowledge entropy while a model is trained by transformers' Trainer."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ke_steps.job.errors import UserError
from ke_steps.public.loaded import describe, extract, torch_as_it_was
from ke_steps.public.measurement import conclude
from ke_steps.public.sampling import MOST_SEQUENCES, Sample, Sampling, Texts, take_sample
from ke_steps.public.steps import checked, in_words_of_the_call
from ke_steps.settings.types import Count

PREFIX = "knowledge_entropy"


class KnowledgeEntropyCallback(TrainerCallback):
    """Measures a fixed sample of held-out text every so many steps, and logs what ``measure`` says.

    The Trainer's own ``log`` is called, so that the numbers stand beside the loss wherever that
    goes::

        trainer.add_callback(KnowledgeEntropyCallback(trainer, "held_out.txt", every_steps=500))

    Logged are ``knowledge_entropy_nats``, with ``knowledge_entropy_low`` and ``_high`` of its 95 %
    interval, that of each layer (``knowledge_entropy_nats/layer_0`` …),
    ``contribution_entropy_nats``, and ``knowledge_entropy_seconds``, what the measurement took.

    It costs one forward pass without the output layer over ``num_sequences`` sequences, about a
    third of what training on as many tokens does, and the bootstrap of the intervals on the CPU.
    Distributed processes that each hold the whole model (DDP) share the sequences. Random numbers,
    the model's mode and torch's settings are left as they were. A training whose coefficients are
    not finite any more ends with a ``UserError``.
    """

    def __init__(
        self,
        trainer: Trainer,
        texts: Texts,
        *,
        every_steps: int,
        num_sequences: int = MOST_SEQUENCES,
        sequence_length_tokens: int | None = None,
        batch_size_sequences: int | None = None,
    ) -> None:
        """Take what is measured, and when.

        Args:
            trainer: whose model is measured, with its tokenizer as ``processing_class``.
            texts: held-out text, as ``measure`` takes it.
            every_steps: steps of the optimizer from one measurement to the next.
            num_sequences: as ``measure``.
            sequence_length_tokens: as ``measure``.
            batch_size_sequences: as ``measure``.

        Raises:
            UserError: a number is not above 0, or the model is in parts (FSDP, DeepSpeed).
        """
        self._every_steps: int = checked(Count, every_steps, where="every_steps")
        sizes = {
            "num_sequences": num_sequences,
            "sequence_length_tokens": sequence_length_tokens,
            "batch_size_sequences": batch_size_sequences,
        }
        self._sampling: Sampling = checked(Sampling, sizes)
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise UserError(
                "trainer: its model is in parts (FSDP or DeepSpeed); measure its checkpoints with"
                " python -m ke_steps.measure"
            )
        self._trainer = trainer
        self._texts = texts
        self._folder: TemporaryDirectory[str] | None = None
        self._sample: Sample | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Pack the sample, once."""
        self._folder = TemporaryDirectory(prefix="knowledge-entropy-")
        folder = Path(self._folder.name)
        model, tokenizer = self._trainer.model, self._trainer.processing_class
        with in_words_of_the_call():
            described = describe(model, tokenizer, None, folder / "model")
            self._sample = take_sample(described, self._texts, self._sampling, folder)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Measure when it is time."""
        if self._sample is not None and state.global_step % self._every_steps == 0:
            started = time.monotonic()
            with torch_as_it_was():
                extract(self._trainer.model, self._sample)
            if state.is_world_process_zero:
                logs = self._read(self._sample)
                # a log takes the flag down by which this step's loss is to be logged
                should_log = control.should_log
                self._trainer.log({**logs, f"{PREFIX}_seconds": time.monotonic() - started})
                control.should_log = should_log

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Remove the sample."""
        if self._folder is not None:
            self._folder.cleanup()
        self._folder = self._sample = None

    def _read(self, sample: Sample) -> dict[str, float]:
        measured = conclude(sample, name=PREFIX)
        by_layer = measured.by_layer.set_index("layer")["entropy_nats"]
        total = measured.total
        return {
            f"{PREFIX}_nats": float(total["entropy_nats"]),
            f"{PREFIX}_low": float(total["low"]),
            f"{PREFIX}_high": float(total["high"]),
            "contribution_entropy_nats": float(total["contribution_entropy_nats"]),
            **{f"{PREFIX}_nats/layer_{layer}": float(h) for layer, h in by_layer.items()},
        }
