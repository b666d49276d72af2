"""When a run injects which text, and when it asks what was learned: imports no torch.

A recipe's ``num_steps`` are ``num_epochs`` passes of equal length over the same sequences in the
same order, each with the same injections; they are numbered 1…num_epochs · num_injections.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ke_steps.job.errors import UserError
from ke_steps.settings.learning import ScheduleInjections, Training
from ke_steps.texts.tokenizers import Tokenizer


class Moment(NamedTuple):
    """A point of the run at which probes are scored."""

    moment: str
    injection: int | None


END = Moment("end", None)


def injection_steps(recipe: Training | ScheduleInjections) -> list[int]:
    """Return the step, 1…num_steps, of injection 1, 2, …: every interval, anew in each epoch."""
    steps_per_epoch = recipe.num_steps // recipe.num_epochs
    return [
        epoch * steps_per_epoch + number * recipe.injection_interval_steps
        for epoch in range(recipe.num_epochs)
        for number in range(1, recipe.num_injections + 1)
    ]


def moments_of_step(recipe: Training) -> dict[int, list[Moment]]:
    """Return {optimiser steps done: its moments}; one step can be several, evaluated once.

    An injection is in the batch of its step, hence *before* it is one step less. With
    ``probe_interval_steps``, *later* moments follow the last injection up to the end.
    """
    moments: dict[int, list[Moment]] = defaultdict(list)
    moments[0].append(Moment("start", None))
    steps = injection_steps(recipe)
    for injection, step in enumerate(steps, start=1):
        moments[step - 1].append(Moment("before", injection))
        moments[step].append(Moment("after", injection))
    if recipe.probe_interval_steps is not None:
        interval = recipe.probe_interval_steps
        for step in range(steps[-1] + interval, recipe.num_steps, interval):
            moments[step].append(Moment("later", None))
    moments[recipe.num_steps].append(END)
    return dict(moments)


def first_sequence(seed: int, num_sequences: int) -> int:
    """Return where in the corpus a run starts: at its beginning for seed 0, else drawn."""
    return 0 if seed == 0 else int(np.random.default_rng(seed).integers(num_sequences))


def injected_tokens(
    schedule: pd.DataFrame, passages: pd.DataFrame, tokenizer: Tokenizer, recipe: Training
) -> dict[int, Sequence[int]]:
    """Return {item of the run: token ids that precede it}; item = (step - 1) · batch size + row.

    They are those of a document: the end-of-text token is the last, as in all 760 injected texts of
    the reference.

    Raises:
        UserError: the schedule leaves the run, names a batch row twice, or a text that is missing.
    """
    texts = passages.set_index(["passage_id", "text_index"])["text"]
    keys = list(zip(schedule["passage_id"], schedule["text_index"], strict=True))
    missing = [key for key in keys if key not in texts.index]
    if missing:
        raise UserError(
            f"schedule: passage {missing[0][0]} has no text {missing[0][1]} in the passages table"
        )
    num_steps, batch_size = recipe.num_steps, recipe.batch_size_sequences
    inside = schedule["train_step"].between(1, num_steps) & schedule["batch_row"].between(
        0, batch_size - 1
    )
    if not inside.all():
        row = schedule[~inside].iloc[0]
        raise UserError(
            f"schedule: step {row['train_step']}, batch row {row['batch_row']} is outside the"
            f" recipe's {num_steps} steps of {batch_size} sequences"
        )
    items = (schedule["train_step"] - 1) * batch_size + schedule["batch_row"]
    if items.duplicated().any():
        row = schedule[items.duplicated()].iloc[0]
        raise UserError(
            f"schedule: step {row['train_step']}, batch row {row['batch_row']} is named twice"
        )
    token_ids = tokenizer.encode_documents([texts[key] for key in keys])
    return dict(zip(items.tolist(), token_ids, strict=True))
