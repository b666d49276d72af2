"""What the extraction of coefficients costs, beside the bare forward pass and beside other tools.

On a random model of OLMo-1B's proportions prints, for each precision, tokens per second and peak
memory of ``extract_coefficients`` and of other ways to the same four moments of every memory, all
in that precision, checked to measure the same to rounding: hooks on the body, TransformerLens,
nnsight, and a loop like the paper's. Goals: 0.98 of the bare forward pass of the body, and ahead of
every other. Hooks that take one moment, mean |c|, are shown beside them. On a CPU the time that
the extraction spends beyond the forward pass is also taken inside of it, which resolves more.

``--scale`` shrinks width, memories, heads and vocabulary alike, so that their shares stay those of
OLMo-1B (hidden 2048, m 8192, 16 heads, vocabulary 50304). Versions run interleaved in one process;
ratios are medians over repeats. Peers are installed by benchmarks/requirements.txt.

Example::

    python -m benchmarks.extraction --scale 0.5 --num-repeats 9
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import OlmoConfig, PreTrainedModel

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
from benchmarks.extraction_peers import (
    THRESHOLD,
    Batches,
    bare,
    hooks_for_one,
    nnsight,
    papers_loop,
    plain_hooks,
    transformer_lens,
)
from benchmarks.extraction_share import forward_share
from benchmarks.machine import (
    DTYPES,
    add_options,
    clock_of,
    describe,
    olmo_config,
    peak_flops,
    peak_memory_mb,
    prepare,
    print_profile,
    random_model,
    shape_of,
    share_of_peak,
)
from ke_steps.measuring.extraction import measure_in_one_pass
from ke_steps.measuring.instances import gather_instances
from ke_steps.measuring.moments import coefficient_terms
from ke_steps.settings.measures import ExtractCoefficientsJob

GOAL = 0.98
"""Of the bare forward pass of the body."""

ONE_MOMENT = "hooks, |c| alone"

PEERS = {
    "hooks": (plain_hooks, None),
    "TransformerLens": (transformer_lens, "transformer-lens"),
    "nnsight": (nnsight, "nnsight"),
    "paper's loop": (papers_loop, None),
    ONE_MOMENT: (hooks_for_one, None),
}
"""What measures the same, and the distribution that it takes."""

TOLERANCES = {"fp32": 1e-5, "bf16": 2e-2}
"""Of each moment, the mean difference over memories to their mean size."""


def main() -> None:
    """Run the benchmark and print its tables."""
    options = parse_options()
    device = prepare(options)
    config = olmo_config(options)
    input_ids = random_sequences(config, options)
    distributions = {name: PEERS[name][1] for name in options.peers}
    there = {name: d is None or is_installed(name, d) for name, d in distributions.items()}
    for precision in options.precisions:
        model = random_model(config, device, DTYPES[precision])
        if options.profile:
            print_profile(extraction(model, input_ids, options), device)
            continue
        peak, source = peak_flops(precision, device, config)
        print(f"\n{precision}: peak {peak / 1e12:.2f} TFLOP/s ({source})")
        compare_peers(model, input_ids, options, there, peak)


def parse_options() -> argparse.Namespace:
    """Read the command line; the defaults take some minutes on two CPU cores."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description=__doc__)
    add_options(parser, scale=0.5, num_repeats=9)
    add_extraction_options(parser, num_sequences=1, length_tokens=1024)
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    return parser.parse_args()


def add_extraction_options(
    parser: argparse.ArgumentParser, *, num_sequences: int, length_tokens: int
) -> None:
    """Add what of extraction is chosen; the numbers are the CPU's."""
    on_gpu = torch.cuda.is_available()
    number, batch, length = (
        (32, 8, 2048) if on_gpu else (num_sequences, num_sequences, length_tokens)
    )
    parser.add_argument("--num-sequences", type=int, default=number)
    parser.add_argument("--sequence-length-tokens", type=int, default=length)
    parser.add_argument("--batch-size-sequences", type=int, default=batch)
    parser.add_argument("--precisions", nargs="+", choices=list(DTYPES), default=list(DTYPES))


def random_sequences(config: OlmoConfig, options: argparse.Namespace) -> NDArray[np.int32]:
    """Say what is measured, and return its token ids."""
    print(
        f"{describe(config)}; {options.num_sequences} sequences of"
        f" {options.sequence_length_tokens} tokens, batch {options.batch_size_sequences}"
    )
    shape = (options.num_sequences, options.sequence_length_tokens)
    generator = np.random.default_rng(0)
    return generator.integers(2, config.vocab_size, shape, dtype=np.int32)


def compare_peers(
    model: PreTrainedModel,
    input_ids: NDArray[np.int32],
    options: argparse.Namespace,
    there: Mapping[str, bool],
    peak: float,
) -> None:
    """Print the table of who measures the moments how fast, in how much memory."""
    batches = split(model, input_ids, options)
    measurements = {
        "bare forward": with_torch_defaults(bare(model, batches)),
        "extraction": extraction(model, input_ids, options),
    }
    for name, is_there in there.items():
        if is_there:
            measurements[name] = with_torch_defaults(PEERS[name][0](model, batches))
    precision = next(name for name, dtype in DTYPES.items() if dtype == model.dtype)
    check_agreement(measurements, TOLERANCES[precision])
    clock = clock_of(options)
    seconds = interleave(measurements, options.num_repeats, model.device, clock=clock)
    memory = {name: peak_memory_mb(each, model.device) for name, each in measurements.items()}
    flops = body_flops(model.config, input_ids)
    titles = ("tokens/s", "to bare forward", "extraction to it", "body TFLOP/s", "over bare MiB")
    print(f"{'':16}" + "".join(f"{title:>24}" for title in titles))
    for name in ["bare forward", "extraction", *there]:
        if name not in measurements:
            print(f"{name:16}  {NOT_INSTALLED}")
            continue
        cells = (
            f"{input_ids.size / statistics.median(seconds[name]):.0f}",
            told(ratios(seconds["bare forward"], seconds[name])),
            told(ratios(seconds[name], seconds["extraction"])),
            share_of_peak(flops, seconds[name], peak),
            f"{memory[name] - memory['bare forward']:.0f}",
        )
        print(f"{name:16}" + "".join(f"{cell:>24}" for cell in cells))
    to_bare = ratios(seconds["bare forward"], seconds["extraction"])
    print(judged("extraction to bare forward", to_bare, GOAL))
    if model.device.type == "cpu":
        inside = [forward_share(measurements["extraction"], clock) for _ in to_bare]
        print(judged("forward pass of extraction, timed inside", inside, GOAL))
    for name in [peer for peer in PEERS if peer in measurements and peer != ONE_MOMENT]:
        ahead = ratios(seconds[name], seconds["extraction"])
        more = memory[name] - memory["extraction"]
        print(f"{judged(f'ahead of {name}', ahead, 1.0)}; it takes {more:+.0f} MiB of memory")


def split(
    model: PreTrainedModel, input_ids: NDArray[np.int32], options: argparse.Namespace
) -> Batches:
    """Return the batches on the model's device."""
    everything = torch.from_numpy(input_ids).to(model.device, torch.long)
    return everything.split(options.batch_size_sequences)


def extraction(
    model: PreTrainedModel,
    input_ids: NDArray[np.int32],
    options: argparse.Namespace,
    **asked: Any,
) -> Measurement:
    """Return what ``extract_coefficients`` does once the model is loaded; it gives moments."""
    # not validated: a job must have groups, for which one sequence is too few
    settings = ExtractCoefficientsJob.model_construct(
        **{
            "corpus": "random",
            "num_sequences": len(input_ids),
            "batch_size_sequences": options.batch_size_sequences,
            "precision": next(name for name, dtype in DTYPES.items() if dtype == model.dtype),
            "active_threshold": THRESHOLD,
            "num_groups": 1,
            "num_threads": options.num_threads,
        }
        | asked
    )
    num_tokens = np.full(len(input_ids), input_ids.shape[1])
    instances = gather_instances(
        input_ids, num_tokens, padding="exclude", num_groups=settings.num_groups
    )

    def measure() -> NDArray[np.float64]:
        means = measure_in_one_pass(model, instances, settings).coefficients
        names = coefficient_terms(THRESHOLD).names
        return np.stack([means[name].mean(axis=1) for name in names])

    return measure


def check_agreement(measurements: Mapping[str, Measurement], tolerance: float) -> None:
    """Warm up, and make sure that all measure the same."""
    results = {name: measure() for name, measure in measurements.items()}
    found = results["extraction"]
    for name in results.keys() - {"bare forward", "extraction"}:
        moments = found[: len(results[name])]
        errors = np.abs(results[name] - moments).mean((1, 2)) / np.abs(moments).mean((1, 2))
        print(
            f"{name}: moments differ from extraction's by " + ", ".join(f"{e:.1e}" for e in errors)
        )
        if not (errors < tolerance).all():
            raise SystemExit(f"{name} does not measure what the extraction does")


def body_flops(config: OlmoConfig, input_ids: NDArray[np.int32]) -> float:
    """Return the operations of a forward pass of the body."""
    return shape_of(config).body_flops(input_ids.size, input_ids.shape[1])


if __name__ == "__main__":
    main()
