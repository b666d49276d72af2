"""What injection training costs beside other loops, on a random model of OLMo-1B's proportions.

Prints the tokens per second of ``train.train``, which learning runs and the nursery use, with
``compile`` and without (the default), of the stock ``Trainer``, and of a bare loop of forward,
backward, clipping and AdamW, compiled and not, on the same batches in the same precision, from the
beginning of the first step to the end of the last (goal: 0.95 of the compiled loop). Then what a
learning run does besides, each by itself, and what share of the paper's run it would take: saving a
state, scoring the probes, writing the update map and the checkpoint.

``--scale`` shrinks width, memories, heads, vocabulary and sequence length alike. The batch is the
paper's: 128 sequences, 8 at a time, of 1,024 tokens at scale 1. Versions run interleaved in one
process, on one model each, all warmed up; ratios are medians over repeats.

Example::

    python -m benchmarks.training --scale 0.125 --num-steps 1 --num-repeats 7
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace

import numpy as np
import tokenizers
from numpy.typing import NDArray
from transformers import OlmoConfig, PreTrainedModel

from benchmarks.around_training import print_costs
from benchmarks.comparison import (
    Measurement,
    interleave,
    judged,
    ratios,
    told,
    with_torch_defaults,
)
from benchmarks.machine import (
    add_options,
    clock_of,
    describe,
    olmo_config,
    peak_flops,
    prepare,
    print_profile,
    random_model,
    shape_of,
    share_of_peak,
)
from benchmarks.training_peers import Clock, NewClock, bare_loop, stock_trainer
from ke_steps.texts.tokenizers import Tokenizer
from ke_steps.training.batches import Optimisation, TrainingSequences
from ke_steps.training.log import Watcher
from ke_steps.training.train import train
from ke_steps.training.trainer import Collator

LEARNING_RATE = 1e-5
PAPER_LENGTH_TOKENS = 1024
INJECTED_SHARE = 0.6
"""Of a batch with an injection: 76 of 128 sequences in the paper."""

GOAL = 0.95
"""Of the compiled loop."""

WORDS = Tokenizer(tokenizers.Tokenizer(tokenizers.models.BPE()), eos_token_id=0, pad_token_id=1)

COMPILED, BARE, STOCK = "bare, compiled", "bare", "stock Trainer"
OURS, OURS_COMPILED = "injection training", "injection, compiled"
WAYS = [COMPILED, BARE, STOCK, OURS, OURS_COMPILED]


def main() -> None:
    """Run the benchmark and print its tables."""
    options = parse_options()
    device = prepare(options)
    config = olmo_config(options)
    optimisation = build_optimisation(options)
    length = round(PAPER_LENGTH_TOKENS * options.scale)
    sequences = build_sequences(config, optimisation, length)
    print(
        f"{describe(config)}; {optimisation.num_steps} steps of"
        f" {optimisation.batch_size_sequences} sequences (micro batch"
        f" {optimisation.micro_batch_size_sequences}) of {length} tokens, {optimisation.precision}"
    )

    def new_clock() -> Clock:
        return Clock(device, clock_of(options))

    def build(name: str) -> Measurement:
        model = random_model(config, device)
        given = sequences, optimisation, new_clock
        if name == STOCK:
            return with_torch_defaults(stock_trainer(model, *given, Collator(WORDS)))
        if name in (COMPILED, BARE):
            return with_torch_defaults(bare_loop(model, *given, compiled=name == COMPILED))
        compiled = replace(optimisation, compile=name == OURS_COMPILED)
        return training(model, sequences, compiled, new_clock)

    measurements = {name: build(name) for name in options.ways}
    if options.profile:
        return print_profile(build(OURS), device)
    check_agreement(measurements)
    seconds = interleave(
        measurements, options.num_repeats, device, seconds_of=lambda result: float(result[0])
    )
    peak, source = peak_flops(optimisation.precision, device, config)
    print(f"peak {peak / 1e12:.2f} TFLOP/s ({source})")
    num_tokens = optimisation.num_sequences * length
    print_table(seconds, num_tokens, shape_of(config).training_flops(num_tokens, length), peak)
    if OURS in seconds:
        step_seconds = statistics.median(seconds[OURS]) / optimisation.num_steps
        model = random_model(config, device)
        print_costs(model, sequences, optimisation, WORDS, step_seconds)
    return None


def parse_options() -> argparse.Namespace:
    """Read the command line; the defaults take some minutes on two CPU cores."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    add_options(parser, scale=0.125, num_repeats=7)
    parser.add_argument("--num-steps", type=int, default=1)
    parser.add_argument("--batch-size-sequences", type=int, default=128)
    parser.add_argument("--micro-batch-size-sequences", type=int, default=8)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    return parser.parse_args()


def build_optimisation(options: argparse.Namespace) -> Optimisation:
    """Return the paper's optimiser over so many steps."""
    return Optimisation(
        num_steps=options.num_steps,
        batch_size_sequences=options.batch_size_sequences,
        micro_batch_size_sequences=options.micro_batch_size_sequences,
        learning_rate=LEARNING_RATE,
        warmup_fraction=0.0,
        min_learning_rate_ratio=0.1,
        weight_decay=0.1,
        max_gradient_norm=1.0,
        precision=options.precision,
    )


def build_sequences(
    config: OlmoConfig, optimisation: Optimisation, length_tokens: int
) -> TrainingSequences:
    """Return random sequences, with a text injected in every step's first rows."""
    generator = np.random.default_rng(0)
    shape = (optimisation.num_sequences, length_tokens)
    tokens = generator.integers(2, config.vocab_size, shape, dtype=np.int32)
    text = generator.integers(2, config.vocab_size, length_tokens // 4).tolist()
    batch_size = optimisation.batch_size_sequences
    injected = range(round(INJECTED_SHARE * batch_size))
    return TrainingSequences(
        tokens,
        num_items=len(tokens),
        prefixes={
            step * batch_size + row: text
            for step in range(optimisation.num_steps)
            for row in injected
        },
    )


class Timing(Watcher):
    """Notes the beginning of the first step and the end of the last one."""

    def __init__(self, clock: Clock, num_steps: int) -> None:
        """Take the clock, and which step is the last."""
        self._clock = clock
        self._num_steps = num_steps

    def observe(self, model: PreTrainedModel, step: int) -> None:
        """Note the time at both ends."""
        if step in (0, self._num_steps):
            self._clock.note()


def training(
    model: PreTrainedModel,
    sequences: TrainingSequences,
    optimisation: Optimisation,
    new_clock: NewClock,
) -> Measurement:
    """Return what a learning run does between its probes."""

    def measure() -> NDArray[np.float64]:
        clock = new_clock()
        trained = train(
            lambda *_: model,
            sequences,
            optimisation,
            tokenizer=WORDS,
            device=model.device,
            watcher=Timing(clock, optimisation.num_steps),
        )
        return clock.result(trained.rows[0]["loss_nats"])

    return measure


def check_agreement(measurements: dict[str, Measurement]) -> None:
    """Warm up, and make sure that all see the same batches: their first losses are equal."""
    losses = {name: measure()[1] for name, measure in measurements.items()}
    first, *others = losses
    for name in others:
        error = abs(losses[name] / losses[first] - 1)
        print(f"{name}: the loss of the first step differs from that of {first} by {error:.1e}")
        if not error < 1e-3:
            raise SystemExit(f"{name} does not train on the same batches")


def print_table(
    seconds: dict[str, list[float]], num_tokens: int, flops: float, peak: float
) -> None:
    """Print throughput, its ratios, and model floating-point operations per second."""
    first = next(iter(seconds))
    print(f"{'':20}{'tokens/s':>10}{f'to {first}':>28}{'TFLOP/s':>16}")
    for name, times in seconds.items():
        print(
            f"{name:20}{num_tokens / statistics.median(times):10.0f}"
            f"{told(ratios(seconds[first], times)):>28}{share_of_peak(flops, times, peak):>16}"
        )
    compared = (OURS, COMPILED, GOAL), (OURS, STOCK, 1.0), (OURS_COMPILED, COMPILED, GOAL)
    for ours, name, goal in compared:
        if {ours, name} <= seconds.keys():
            print(judged(f"{ours} to {name}", ratios(seconds[name], seconds[ours]), goal))


if __name__ == "__main__":
    main()
