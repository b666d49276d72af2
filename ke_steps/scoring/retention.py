"""What answers and losses come to: accuracies beside chance, and bits per token, resampled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ke_steps.artefacts.replicates import Resampled, name_of_units
from ke_steps.formulas.bootstrap import (
    NOT_NEGATIVE,
    PROPORTION,
    bootstrap_weights,
    sampling_interval,
    unresolved_proportion,
)
from ke_steps.settings.learning import EvaluateRetention


class Answers(NamedTuple):
    """How a model answered the items of a task, each (num_items,)."""

    correct: NDArray[np.bool_]
    num_choices: NDArray[np.int64]
    names: Sequence[Any]
    """What tells the items apart, as JSON."""


class Measured(NamedTuple):
    """A quantity of a task, of all tasks or of the held-out text."""

    task: str
    quantity: str
    found: Resampled

    def row(self, confidence: float) -> dict[str, Any]:
        """Return the row of ``RETENTION``."""
        value, replicates, num_items, _, unresolved = self.found
        interval: tuple[float | None, float | None] = (None, None)
        if self.quantity != "chance":
            bounds = PROPORTION if self.quantity == "accuracy" else NOT_NEGATIVE
            interval = sampling_interval(value, replicates, unresolved, confidence, bounds)
        return {
            "task": self.task,
            "quantity": self.quantity,
            "value": value,
            **dict(zip(("low", "high"), interval, strict=True)),
            "num_items": num_items,
        }


def measured(
    answers: Mapping[str, Answers],
    held_out: NDArray[np.float64],
    sequences: str,
    settings: EvaluateRetention,
) -> Iterator[Measured]:
    """Yield every quantity of the retention table, resampled.

    Args:
        answers: per task.
        held_out: bits per token of each held-out sequence.
        sequences: names them.
        settings: bootstrap.
    """
    # One stream of resamples per sample: tasks of equal size must not be resampled alike.
    seeds = np.random.SeedSequence(settings.seed).generate_state(len(answers) + 1).tolist()
    text = resampled(held_out, sequences, seeds.pop(0), settings)
    accuracies, chances = {}, {}
    for (task, given), seed in zip(answers.items(), seeds, strict=True):
        names = [task, given.names]
        unresolved = unresolved_proportion(len(given.names), settings.confidence)
        accuracy = resampled(given.correct, names, seed, settings)
        accuracies[task] = accuracy._replace(unresolved=unresolved)
        chances[task] = resampled(1 / given.num_choices, names, seed, settings)
    for quantity, found in (("accuracy", accuracies), ("chance", chances)):
        yield from (Measured(task, quantity, of_task) for task, of_task in found.items())
        yield Measured("mean", quantity, over_tasks(list(found.values()), quantity, settings))
    yield Measured("held_out", "bits_per_token", text)


def resampled(
    values: NDArray[np.bool_] | NDArray[np.float64],
    names: Any,
    seed: int,
    settings: EvaluateRetention,
) -> Resampled:
    """Return the mean of values (n,) and its replicates; ``names`` tells what they are of."""
    weights = bootstrap_weights(len(values), settings.num_bootstrap, seed)
    units = name_of_units(names, settings.num_bootstrap, seed)
    return Resampled(float(values.mean()), weights @ values, len(values), units)


def over_tasks(tasks: Sequence[Resampled], quantity: str, settings: EvaluateRetention) -> Resampled:
    """Return the mean over tasks, each resampled within itself.

    Where nothing varies in any task, Σ nₜ ln(1 - pₜ) = ln(α/2) bounds the mean of pₜ. It is largest
    with all pₜ equal when all tasks have as many items; they all count as the smallest has.
    """
    num_items = len(tasks) * min(task.num_units for task in tasks)
    is_sampled = quantity == "accuracy"
    return Resampled(
        float(np.mean([task.value for task in tasks])),
        np.mean([task.replicates for task in tasks], axis=0),
        sum(task.num_units for task in tasks),
        name_of_units([task.units for task in tasks], settings.num_bootstrap, settings.seed),
        unresolved_proportion(num_items, settings.confidence) if is_sampled else 0.0,
    )
