"""Lay down which text enters which sequence of which training step.

Reads a PASSAGES table. Writes a SCHEDULE table, one row per injected text, ordered by injection and
then paraphrase passages before once passages: injection (1…), train_step (1…), batch_row (0…),
passage_id, text_index, condition.

At every injection each paraphrase passage gives one text, another each time; the once passages are
split into as many groups as there are injections, as even as possible, and each gives its original
text with its group (paper §2, FACTS 2). Seed 0 is the paper's layout: texts, groups and batch rows
in file order. Any other seed draws all three. Every epoch repeats the first, its injections counted
on.

    python -m ke_steps.schedule_injections --passages passages.parquet --output schedule.parquet \
      --settings '{"num_steps": 1600, "num_epochs": 1, "num_injections": 10,
                   "injection_interval_steps": 160, "batch_size_sequences": 128, "seed": 0}'
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.text_schemas import PASSAGES, SCHEDULE
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import ScheduleInjections
from ke_steps.training.injection import injection_steps

Ids = NDArray[np.int64]


def schedule(passages: pd.DataFrame, settings: ScheduleInjections) -> list[dict[str, Any]]:
    """Return the rows of SCHEDULE for a PASSAGES table.

    Raises:
        UserError: a paraphrase passage has fewer texts than there are injections, or a batch fewer
            rows than the largest injection has texts.
    """
    generator = np.random.default_rng(settings.seed) if settings.seed else None
    texts = _text_orders(passages, settings.num_injections, generator)
    groups = _once_groups(passages, settings.num_injections, generator)
    largest = len(texts) + max(len(group) for group in groups)
    if largest > settings.batch_size_sequences:
        raise UserError(
            f"recipes.<name>.batch_size_sequences: {settings.batch_size_sequences} rows cannot hold"
            f" the {largest} texts of an injection; raise it, raise num_injections or take fewer"
            " passages"
        )
    layouts = []
    for index, group in enumerate(groups):
        injected = [(passage, order[index], "paraphrase") for passage, order in texts.items()]
        injected += [(passage, 0, "once") for passage in group]
        batch_rows = _batch_rows(len(injected), settings.batch_size_sequences, generator)
        layouts.append(list(zip(batch_rows, injected, strict=True)))
    steps = injection_steps(settings)
    return [
        {
            "injection": injection,
            "train_step": step,
            "batch_row": batch_row,
            "passage_id": passage,
            "text_index": text,
            "condition": condition,
        }
        for injection, step in enumerate(steps, start=1)
        for batch_row, (passage, text, condition) in layouts[(injection - 1) % len(layouts)]
    ]


def _text_orders(
    passages: pd.DataFrame, num_injections: int, generator: np.random.Generator | None
) -> dict[int, Ids]:
    """Return passage_id → the text_index of injection 1, 2, …, for the paraphrase passages."""
    paraphrase = passages[passages["condition"] == "paraphrase"]
    orders = {}
    for passage in paraphrase["passage_id"].unique():
        texts = paraphrase.loc[paraphrase["passage_id"] == passage, "text_index"].to_numpy()
        if len(texts) < num_injections:
            raise UserError(
                f"recipes.<name>.num_injections: {num_injections} is more than the {len(texts)}"
                f" texts of paraphrase passage {passage}"
            )
        orders[passage] = texts if generator is None else generator.permutation(texts)
    return orders


def _once_groups(
    passages: pd.DataFrame, num_injections: int, generator: np.random.Generator | None
) -> list[Ids]:
    """Return the once passages of each injection; a group is empty where passages are too few."""
    once = passages[passages["condition"] == "once"]["passage_id"].drop_duplicates().to_numpy()
    order = once if generator is None else generator.permutation(once)
    return np.array_split(order, num_injections)


def _batch_rows(size: int, batch_size: int, generator: np.random.Generator | None) -> Ids:
    if generator is None:
        return np.arange(size)
    return generator.choice(batch_size, size=size, replace=False)


def run(*, passages: Path, output: Path, settings: ScheduleInjections) -> None:
    """Write the schedule of one recipe and seed."""
    frame = read_frame(passages, PASSAGES)
    write_table(output, schedule(frame, settings), SCHEDULE)


if __name__ == "__main__":
    main(run)
