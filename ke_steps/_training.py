"""Training on packed sequences in their order, by transformers' ``Trainer``.

What pretraining a nursery and injecting knowledge share. The optimiser is the reference's (FACTS,
section 2): AdamW with β = (0.9, 0.95) and ε = 1e-5, where weight decay acts on the matrices of
linear layers alone, not on embeddings (tied or not), norms and biases; gradient clipping by norm;
no dropout; linear warm-up, then a cosine to ``min_learning_rate_ratio`` of the peak. The learning
rate of step s (1…N, W of warm-up) is peak·s/W, then falls to reach the minimum exactly at step N;
the reference's warm-up starts at 10 % of the peak instead.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from ke_steps import _sequences
from ke_steps._errors import UserError
from ke_steps._tokenizers import Tokenizer
from ke_steps._training_log import StepLog

BETAS = (0.9, 0.95)
EPSILON = 1e-5
IGNORED_LABEL = -100
"""The label that transformers' loss leaves out."""


@dataclass(frozen=True)
class Optimisation:
    """How a run optimises; the fields are those of ``settings.Recipe``."""

    num_steps: int
    batch_size_sequences: int
    micro_batch_size_sequences: int
    learning_rate: float
    warmup_fraction: float
    min_learning_rate_ratio: float
    weight_decay: float
    max_gradient_norm: float
    precision: Literal["fp32", "bf16"]
    num_epochs: int = 1

    @property
    def num_sequences(self) -> int:
        """Sequences that the run consumes, each once in an epoch."""
        return self.num_steps // self.num_epochs * self.batch_size_sequences

    @property
    def num_warmup_steps(self) -> int:
        """Steps of linear warm-up: 80 of the paper's 1,600."""
        return round(self.warmup_fraction * self.num_steps)


@dataclass(frozen=True)
class TrainingSequences(Dataset[NDArray[np.int32]]):
    """The sequences of a run in the order of training: item i is row i % B of step 1 + i // B."""

    sequences: NDArray[np.int32]
    """Token ids (num_sequences, T), memory-mapped or not; read row by row."""

    num_items: int
    """How many sequences an epoch consumes, from ``first`` on and wrapping round."""

    first: int = 0
    num_epochs: int = 1
    """How often the run goes over them, each time in the same order."""

    prefixes: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """Token ids that precede item i, whose own tokens are cut back to keep T in all."""

    def __len__(self) -> int:
        return self.num_items * self.num_epochs

    def __getitem__(self, item: int) -> NDArray[np.int32]:
        """Return the token ids (T,) of an item, 0…len - 1."""
        place = self.first + item % self.num_items
        sequence = self.sequences[place % len(self.sequences)]
        prefix = self.prefixes.get(item)
        return sequence if prefix is None else prepend(prefix, sequence)


def prepend(prefix: Sequence[int], sequence: NDArray[np.int32]) -> NDArray[np.int32]:
    """Put a text's tokens before a sequence (T,) and cut back to T tokens."""
    return np.concatenate([np.asarray(prefix, dtype=np.int32), sequence])[: len(sequence)]


def read_corpus(
    path: Path, optimisation: Optimisation, *, vocab_size: int, corpus: str
) -> NDArray[np.int32]:
    """Read the packed sequences (num_sequences, T) of the corpus to train on.

    Raises:
        UserError: fewer sequences than the run consumes, or as ``read_sequences``.
    """
    tokens = _sequences.read_sequences(path, vocab_size=vocab_size)
    if len(tokens) < optimisation.num_sequences:
        raise UserError(
            f"corpora.{corpus}.num_sequences: {path} has {len(tokens)} sequences, training needs"
            f" {optimisation.num_sequences} (num_steps × batch_size_sequences / num_epochs)"
        )
    return tokens


def train(
    model: PreTrainedModel,
    sequences: TrainingSequences,
    optimisation: Optimisation,
    *,
    tokenizer: Tokenizer,
    after_step: Callable[[int], None] = lambda step: None,
) -> list[dict[str, Any]]:
    """Train a model in place and return the rows of the training table, one per step.

    Args:
        model: fp32 parameters, on the device where it is to be trained.
        sequences: as many items as the run consumes.
        optimisation: schedule, batch, optimiser.
        tokenizer: its padding token, when it has one of its own, is no target of the loss.
        after_step: called with 1…num_steps when the weights of that step are final.

    Raises:
        UserError: the loss or the gradient is not a finite number.
    """
    # the reference has none, and with it a batch would depend on how it is split for the device
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    log = StepLog(
        optimisation.num_steps,
        Counter(1 + item // optimisation.batch_size_sequences for item in sequences.prefixes),
        after_step,
    )
    use_cache = model.config.use_cache
    with tempfile.TemporaryDirectory() as unused:
        trainer = _Trainer(
            model=model,
            args=_arguments(optimisation, Path(unused), model.device),
            train_dataset=sequences,
            data_collator=_Collator(tokenizer),
            optimizers=(_optimizer(model, optimisation), None),
            callbacks=[log],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.config.use_cache = use_cache  # which Trainer turns off for good
    return log.rows


def _arguments(
    optimisation: Optimisation, directory: Path, device: torch.device
) -> TrainingArguments:
    micro_batch = optimisation.micro_batch_size_sequences
    return _OneDeviceArguments(
        output_dir=str(directory),
        max_steps=optimisation.num_steps,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=optimisation.batch_size_sequences // micro_batch,
        train_sampling_strategy="sequential",
        lr_scheduler_type="cosine_warmup_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": optimisation.min_learning_rate_ratio},
        learning_rate=optimisation.learning_rate,
        warmup_steps=optimisation.num_warmup_steps,
        max_grad_norm=optimisation.max_gradient_norm,
        bf16=optimisation.precision == "bf16",
        use_cpu=device.type == "cpu",
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        save_strategy="no",
        report_to="none",
    )


class _OneDeviceArguments(TrainingArguments):
    @property
    def n_gpu(self) -> int:
        """One at most: several would multiply the batch."""
        return min(1, super().n_gpu)


class _Trainer(Trainer):
    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: walking over all modules at every step costs more than it tells."""
        return 0


def _optimizer(model: PreTrainedModel, optimisation: Optimisation) -> torch.optim.AdamW:
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}

    def is_matrix(parameter: nn.Parameter) -> bool:
        return parameter.ndim > 1 and id(parameter) not in embeddings

    decayed = [p for p in model.parameters() if is_matrix(p)]
    kept = [p for p in model.parameters() if not is_matrix(p)]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": optimisation.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ],
        lr=optimisation.learning_rate,
        betas=BETAS,
        eps=EPSILON,
        fused=True,
    )


class _Collator:
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
