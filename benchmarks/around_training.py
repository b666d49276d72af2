"""What a learning run does besides its steps, each by itself, and its share of the paper's run."""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel

from ke_steps.artefacts.learning_schemas import UPDATES
from ke_steps.artefacts.parquet import write_batches
from ke_steps.checkpoints.checkpoint_files import save_checkpoint
from ke_steps.measuring.updates import update_map
from ke_steps.models.feed_forward import describe_model, feed_forward
from ke_steps.planning.workloads import NUM_PROBES_PER_PASSAGE, PROBE_TOKENS
from ke_steps.scoring.probes import score_probes
from ke_steps.texts.tokenizers import Tokenizer
from ke_steps.training.batches import Optimisation, TrainingSequences
from ke_steps.training.log import Watcher
from ke_steps.training.resuming import LEAST_SECONDS, SHARE, Unfinished
from ke_steps.training.train import train

NUM_STEPS = 1600
NUM_MOMENTS = 22
"""Start, before and after each of ten injections, end."""

NUM_PROBES = 130 * NUM_PROBES_PER_PASSAGE
TOKENS_PER_STEP = 128 * 1024
"""Of the paper, for so many probes; a smaller step has fewer in proportion."""

NUM_REPEATS = 3


def print_costs(
    model: PreTrainedModel,
    sequences: TrainingSequences,
    optimisation: Optimisation,
    tokenizer: Tokenizer,
    step_seconds: float,
) -> None:
    """Print what each takes, and its share of a run of the paper's length at this rate."""
    run_seconds = NUM_STEPS * step_seconds
    started = copy.deepcopy(model)
    tokens_per_step = optimisation.batch_size_sequences * len(sequences[0])
    number = max(1, round(NUM_PROBES * tokens_per_step / TOKENS_PER_STEP))
    probes = build_probes(number, model.config.vocab_size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tokenizer_files(folder)
        saving = saved_seconds(model, sequences, optimisation, tokenizer, folder) - step_seconds
        costs = {
            "saving a state": (saving, run_seconds / max(LEAST_SECONDS, saving / SHARE)),
            f"scoring {len(probes)} probes": (
                timed(lambda: score_probes(model, probes, precision=optimisation.precision)),
                NUM_MOMENTS,
            ),
            "writing the update map": (timed(lambda: write_updates(started, model, folder)), 1),
            "writing the checkpoint": (timed(lambda: write_checkpoint(model, folder)), 1),
        }
    print(f"\n{'':28}{'seconds':>10}{'times':>8}{f'of a run of {NUM_STEPS:,} steps':>28}")
    for what, (seconds, times) in costs.items():
        share = seconds * times / run_seconds
        print(f"{what:28}{seconds:10.2f}{times:8.1f}{share:>28.2%}")
    whole = sum(seconds * times for seconds, times in costs.values()) / run_seconds
    print(f"{'all of them':28}{'':18}{whole:>28.2%}")


def build_probes(number: int, vocab_size: int) -> pd.DataFrame:
    """Return random probes of the usual length."""
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "probe_id": range(number),
            "passage_id": np.arange(number) // NUM_PROBES_PER_PASSAGE,
            "condition": "paraphrase",
            "kind": "memorization",
            "token_ids": list(generator.integers(2, vocab_size, (number, PROBE_TOKENS))),
            "target_start": PROBE_TOKENS - 3,
        }
    )


def timed(work: Callable[[], object]) -> float:
    """Return the median seconds of a few calls."""
    seconds = []
    for _ in range(NUM_REPEATS):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


class Intervals(Watcher):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def observe(self, model: PreTrainedModel, step: int) -> None:
        """Note the time, once the device has done all that was asked of it."""
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def saved_seconds(
    model: PreTrainedModel,
    sequences: TrainingSequences,
    optimisation: Optimisation,
    tokenizer: Tokenizer,
    folder: Path,
) -> float:
    """Return the median seconds of a step after which a state is saved."""
    # twice over, so that there are two steps at least
    sequences = replace(sequences, num_epochs=2)
    optimisation = replace(optimisation, num_steps=2 * optimisation.num_steps, num_epochs=2)
    intervals = Intervals()
    unfinished = Unfinished(folder / "model/manifest.json", intervals)
    train(
        lambda *_: model,
        sequences,
        optimisation,
        tokenizer=tokenizer,
        device=model.device,
        watcher=intervals,
        unfinished=unfinished,
        save_interval_seconds=0.0,
    )
    unfinished.remove()
    # a state is saved after a step is noted: each interval but the first begins with one
    return statistics.median(np.diff(intervals.times)[1:])


def write_updates(before: PreTrainedModel, after: PreTrainedModel, folder: Path) -> None:
    """Write the update map as a learning run does."""
    rows = update_map(feed_forward(before), feed_forward(after))
    write_batches(folder / "updates.parquet", rows, UPDATES)


def write_checkpoint(model: PreTrainedModel, folder: Path) -> None:
    """Write the model as a learning run does."""
    save_checkpoint(
        model,
        folder,
        folder / "written/manifest.json",
        step=NUM_STEPS,
        source={},
        sizes=describe_model(model),
    )


def write_tokenizer_files(folder: Path) -> None:
    """Write what a checkpoint takes over from the one that it came from."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text(json.dumps({}))
