"""What a training run tells of itself: a row per step, a progress bar, and what watches it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from ke_steps.job.files import read_object
from ke_steps.models import ranks

ENTROPY = "contribution_normalized_entropy"
"""What a dose of entropy adds to the log of a step (``training.dosing``), and to its row."""


class Watcher:
    """What a step does along a training; this one does nothing.

    Under several ranks every method is called on each of them, but ``save``.
    """

    def begin(self, saved: Path | None) -> None:
        """Start anew, or from what ``save`` wrote to the folder ``saved``.

        Raises:
            UserError: what was written is not whole.
        """

    def observe(self, model: PreTrainedModel, step: int) -> None:
        """Look at the weights after ``step`` optimiser steps, 0…num_steps."""

    def diverged(self, model: PreTrainedModel, step: int) -> None:
        """Look at the last finite weights, those after ``step``, of a run that ends here."""

    def save(self, folder: Path) -> None:
        """Write what ``observe`` has found so far to a folder that exists."""


class StepLog(TrainerCallback):
    """Collects one row per step, shows progress, and passes the end of every step on."""

    def __init__(
        self,
        model: PreTrainedModel,
        num_steps: int,
        num_injected: Mapping[int, int],
        watcher: Watcher,
    ) -> None:
        """Prepare for a run of which step s has ``num_injected[s]`` injected sequences."""
        self.rows: list[dict[str, Any]] = []
        self._model = model
        self._num_steps = num_steps
        self._num_injected = num_injected
        self._watcher = watcher
        self._bar: tqdm[Any] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the rows of a saved run, whose log the state holds; look at the untrained model."""
        for entry in state.log_history:
            self._add(entry["step"], entry)
        if not self.rows:
            self._watcher.observe(self._model, 0)
        self._bar = tqdm(
            total=self._num_steps,
            initial=len(self.rows),
            desc="training",
            file=sys.stderr,
            disable=not ranks.is_first(),
        )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Keep the numbers of the step just done."""
        if "grad_norm" in logs and self._bar is not None:
            self._add(state.global_step, logs)
            self._bar.update()
            self._bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)
            self._watcher.observe(self._model, state.global_step)

    def end_diverged(self, step: int, logs: Mapping[str, float]) -> None:
        """Keep the numbers of a step that was not done, as they are not finite."""
        self._add(step, logs)
        self._watcher.diverged(self._model, step - 1)

    def close(self) -> None:
        """End the progress bar's line."""
        if self._bar is not None:
            self._bar.close()

    def _add(self, step: int, logs: Mapping[str, float]) -> None:
        self.rows.append(_row(step, logs, self._num_injected.get(step, 0)))


def _row(step: int, logs: Mapping[str, float], num_injected: int) -> dict[str, Any]:
    return {
        "train_step": step,
        "loss_nats": logs["loss"],
        "learning_rate": logs["learning_rate"],
        "gradient_norm": logs["grad_norm"],
        "num_injected_sequences": num_injected,
        ENTROPY: logs.get(ENTROPY),
    }


def saved_rows(state: Path) -> list[dict[str, Any]]:
    """Return the rows, from the first step on, of a training without injections that was saved."""
    log = read_object(state / TRAINER_STATE_NAME)["log_history"]
    return [_row(entry["step"], entry, 0) for entry in log]
