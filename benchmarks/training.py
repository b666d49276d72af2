"""How much injection training costs beside a bare loop, on a random model of OLMo-1B's proportions.

Prints the tokens per second of ``train.train``, which learning runs and the nursery use, and of
a bare loop of forward, backward and AdamW on the same batches in the same precision, and the ratio
(goal: 0.93 or more). The bare loop neither clips, logs, schedules the learning rate nor looks at
the loss. Also prints what both reach in model floating-point operations per second (6 · N · tokens
with attention), as a share of the peak where the device is an H100.

``--scale`` shrinks width, memories, heads, vocabulary and sequence length alike. The start-up of
either is part of its time, so that steps should not be too few. Versions run interleaved; ratios
are medians over repeats.

Example::

    python -m benchmarks.training --scale 0.25 --num-steps 8 --num-repeats 3
"""

from __future__ import annotations

import argparse
import os
import statistics

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from transformers import OlmoConfig, PreTrainedModel

from benchmarks.comparison import Measurement, interleave, olmo_config, random_model, ratio
from ke_steps.models.loading import prepare_torch
from ke_steps.planning.model_shapes import shape_of_config
from ke_steps.planning.plan import PEAK_FLOPS
from ke_steps.texts.tokenizers import Tokenizer
from ke_steps.training.batches import Optimisation, TrainingSequences
from ke_steps.training.train import train

LEARNING_RATE = 1e-5
INJECTED_SHARE = 0.6
"""Of a batch with an injection: 76 of 128 sequences in the paper."""


def main() -> None:
    """Run the benchmark and print its table."""
    options = parse_options()
    device = prepare_torch(options.num_threads, seed=0)
    config = olmo_config(options.scale)
    optimisation = build_optimisation(options)
    sequences = build_sequences(config, optimisation)
    print(
        f"{config.num_hidden_layers} layers, hidden {config.hidden_size},"
        f" m {config.intermediate_size}, vocabulary {config.vocab_size}, {optimisation.num_steps}"
        f" steps of {optimisation.batch_size_sequences} sequences"
        f" (micro batch {optimisation.micro_batch_size_sequences}) of"
        f" {config.max_position_embeddings} tokens, {optimisation.precision}, {device.type},"
        f" {options.num_threads} threads, torch {torch.__version__}"
    )
    measurements = {
        "bare": bare(random_model(config, device), sequences, optimisation),
        "training": training(random_model(config, device), sequences, optimisation),
    }
    check_agreement(measurements)
    seconds = interleave(measurements, options.num_repeats, device)
    print_table(seconds, config, optimisation, device)


def parse_options() -> argparse.Namespace:
    """Read the command line; the defaults take some minutes on two CPU cores."""
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0 if on_gpu else 0.25)
    parser.add_argument("--num-steps", type=int, default=8)
    parser.add_argument("--batch-size-sequences", type=int, default=32 if on_gpu else 4)
    parser.add_argument("--micro-batch-size-sequences", type=int, default=8 if on_gpu else 2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--num-repeats", type=int, default=3)
    parser.add_argument("--num-threads", type=int, default=os.cpu_count())
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


def build_sequences(config: OlmoConfig, optimisation: Optimisation) -> TrainingSequences:
    """Return random sequences, with a text injected in every step's first rows."""
    generator = np.random.default_rng(0)
    shape = (optimisation.num_sequences, config.max_position_embeddings)
    tokens = generator.integers(2, config.vocab_size, shape, dtype=np.int32)
    text = generator.integers(2, config.vocab_size, shape[1] // 4).tolist()
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


def bare(
    model: PreTrainedModel,
    sequences: TrainingSequences,
    optimisation: Optimisation,
) -> Measurement:
    """Return the loop that does nothing but train."""
    size = optimisation.micro_batch_size_sequences
    rows = np.stack([sequences[item] for item in range(len(sequences))])
    batches = torch.from_numpy(rows).split(optimisation.batch_size_sequences)
    num_micro_batches = optimisation.batch_size_sequences // size

    def measure() -> NDArray[np.float64]:
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
        losses = []
        for batch in batches:
            loss = torch.zeros((), device=model.device)
            for part in batch.split(size):
                input_ids = part.to(model.device, torch.long)
                with torch.autocast(
                    model.device.type, torch.bfloat16, enabled=optimisation.precision == "bf16"
                ):
                    share = model(input_ids, labels=input_ids).loss / num_micro_batches
                share.backward()
                loss += share.detach()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss)
        return torch.stack(losses).double().cpu().numpy()

    return measure


def training(
    model: PreTrainedModel,
    sequences: TrainingSequences,
    optimisation: Optimisation,
) -> Measurement:
    """Return what a learning run does between its probes."""
    words = Tokenizer(tokenizers.Tokenizer(tokenizers.models.BPE()), eos_token_id=0, pad_token_id=1)

    def measure() -> NDArray[np.float64]:
        trained = train(
            lambda *_: model,
            sequences,
            optimisation,
            tokenizer=words,
            device=model.device,
        )
        return np.array([row["loss_nats"] for row in trained.rows])

    return measure


def check_agreement(measurements: dict[str, Measurement]) -> None:
    """Warm up, and make sure that both see the same batches: their first losses are equal."""
    losses = {name: measure() for name, measure in measurements.items()}
    error = abs(losses["training"][0] / losses["bare"][0] - 1)
    print(f"the loss of the first step differs by {error:.1e}")
    if not error < 1e-3:
        raise SystemExit("the two versions do not train on the same batches")


def print_table(
    seconds: dict[str, list[float]],
    config: OlmoConfig,
    optimisation: Optimisation,
    device: torch.device,
) -> None:
    """Print throughput, its ratio, and model floating-point operations per second."""
    length = config.max_position_embeddings
    num_tokens = optimisation.num_sequences * length
    shape = shape_of_config(config.to_dict())
    assert shape is not None
    flops = shape.training_flops(num_tokens, length)
    is_h100 = device.type == "cuda" and "H100" in torch.cuda.get_device_name()
    print(f"{'':10}{'tokens/s':>12}{'to bare':>24}{'TFLOP/s':>12}{'of an H100':>12}")
    for name, times in seconds.items():
        median = statistics.median(times)
        share = f"{flops / median / PEAK_FLOPS['H100 SXM'][optimisation.precision]:.0%}"
        print(
            f"{name:10}{num_tokens / median:12.0f}{ratio(seconds['bare'], times):>24}"
            f"{flops / median / 1e12:12.3f}{share if is_h100 else '':>12}"
        )


if __name__ == "__main__":
    main()
