"""The course of attention's temperature over a training (see ``models.temperature``).

After t of N optimiser steps, and in the forward passes of step t, whatever its micro-batches, the
temperature is end + (start - end) · (1 - t / N): that of the reference's public code, where it is
T - (T - 1) · t / N, or T where it is told not to decay (FACTS, section 5).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ke_steps.artefacts.interventions import read_intervention
from ke_steps.models.temperature import set_temperature


class Course(NamedTuple):
    """The temperatures before and after a training."""

    start: float
    end: float

    def after(self, step: int, num_steps: int) -> float:
        """Return the temperature of step 1…num_steps, which it keeps until the next; 0: before."""
        return self.end + (self.start - self.end) * (1 - step / num_steps)


def course_of(intervention: Path | None) -> Course | None:
    """Return the course that an intervention asks for; None if it leaves the temperature alone."""
    if intervention is None:
        return None
    temperatures = read_intervention(intervention).get("attention_temperature")
    return None if temperatures is None else Course(*temperatures.tolist())


class Tempering(TrainerCallback):
    """Leads a model through a course, from wherever the training begins."""

    def __init__(self, model: PreTrainedModel, course: Course, num_steps: int) -> None:
        """Take the model that is trained, and the length of the whole training."""
        self._model = model
        self._course = course
        self._num_steps = num_steps

    def set_after(self, step: int) -> None:
        """Give the model the temperature that it has after a step."""
        set_temperature(self._model, self._course.after(step, self._num_steps))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on from the steps that are done, all of them if the training had ended."""
        self.set_after(state.global_step)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set it once for all micro-batches of the step."""
        self.set_after(state.global_step + 1)
