"""How much the extraction of coefficients costs, on a random model of OLMo-1B's proportions.

Prints, for fp32 and bf16, the throughput of ``extract_coefficients`` as a ratio to the bare forward
pass of the body, and to a straightforward version that works as the reference code does: fp32,
eager attention, full logits, all activations kept in a list. Then the peak memory of each.

``--scale`` shrinks width, memories, heads, vocabulary and sequence length alike, so that the shares
of feed-forward layers, attention and logits stay those of OLMo-1B (hidden 2048, m 8192, 16 heads,
16 layers, vocabulary 50304, 2048 tokens). What is compared runs interleaved; ratios are medians
over repeats.

Example::

    python -m benchmarks.extraction --scale 0.5 --num-repeats 3
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, OlmoConfig, PreTrainedModel

from benchmarks.comparison import Measurement, interleave, olmo_config, ratio
from ke_steps.measuring.extraction import DTYPES, measure_in_one_pass
from ke_steps.measuring.instances import gather_instances
from ke_steps.models.loading import prepare_torch
from ke_steps.settings.measures import ExtractCoefficientsJob


def main() -> None:
    """Run the benchmark and print its table."""
    options = parse_options()
    device = prepare_torch(options.num_threads, seed=0)
    config = olmo_config(options.scale)
    print(
        f"{config.num_hidden_layers} layers, hidden {config.hidden_size},"
        f" m {config.intermediate_size}, {config.num_attention_heads} heads, vocabulary"
        f" {config.vocab_size}, {options.num_sequences} sequences of"
        f" {config.max_position_embeddings} tokens, batch {options.batch_size_sequences},"
        f" {device.type}, {options.num_threads} threads, torch {torch.__version__}"
    )
    generator = np.random.default_rng(0)
    shape = (options.num_sequences, config.max_position_embeddings)
    input_ids = generator.integers(2, config.vocab_size, shape, dtype=np.int32)
    measurements = build_measurements(config, input_ids, options.batch_size_sequences, device)
    check_agreement(measurements)
    seconds = interleave(measurements, options.num_repeats, device)
    memory = {name: peak_memory_mb(measure, device) for name, measure in measurements.items()}
    print_table(seconds, memory, input_ids.size)


def parse_options() -> argparse.Namespace:
    """Read the command line; the defaults take a minute or two on two CPU cores."""
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0 if on_gpu else 0.5)
    parser.add_argument("--num-sequences", type=int, default=32 if on_gpu else 1)
    parser.add_argument("--batch-size-sequences", type=int, default=8 if on_gpu else 1)
    parser.add_argument("--num-repeats", type=int, default=5 if on_gpu else 3)
    parser.add_argument("--num-threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def build_measurements(
    config: OlmoConfig, input_ids: NDArray[np.int32], batch_size: int, device: torch.device
) -> dict[str, Measurement]:
    """Return what is compared, by name."""
    measurements: dict[str, Measurement] = {}
    batches = torch.split(torch.from_numpy(input_ids).to(device), batch_size)
    for precision, dtype in DTYPES.items():
        transformers.set_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
        model.to(device)
        measurements[f"bare {precision}"] = bare(model, batches)
        measurements[f"extraction {precision}"] = extraction(model, input_ids, batch_size)
        if precision == "fp32":
            measurements["straightforward fp32"] = straightforward(model, batches)
    return measurements


def bare(model: PreTrainedModel, batches: tuple[Tensor, ...]) -> Measurement:
    """Return the forward pass of the body alone."""

    @torch.inference_mode()
    def measure() -> NDArray[np.float64]:
        for batch in batches:
            model.base_model(input_ids=batch, use_cache=False)
        return np.empty(0)

    return measure


def extraction(
    model: PreTrainedModel, input_ids: NDArray[np.int32], batch_size: int
) -> Measurement:
    """Return what ``extract_coefficients`` does once the model is loaded."""
    num_tokens = np.full(len(input_ids), input_ids.shape[1])
    instances = gather_instances(input_ids, num_tokens, padding="exclude", num_groups=1)
    # not validated: a job must have groups, for which one sequence is too few
    settings = ExtractCoefficientsJob.model_construct(
        corpus="random",
        num_sequences=len(input_ids),
        batch_size_sequences=batch_size,
        precision="fp32" if model.dtype == torch.float32 else "bf16",
        active_threshold=0.1,
        num_groups=1,
        num_threads=torch.get_num_threads(),
    )

    def measure() -> NDArray[np.float64]:
        means = measure_in_one_pass(model, instances, settings).coefficients
        mean_absolute: NDArray[np.float64] = means["absolute"].mean(axis=1)
        return mean_absolute

    return measure


def straightforward(model: PreTrainedModel, batches: tuple[Tensor, ...]) -> Measurement:
    """Return the version that keeps every activation and computes the logits nobody reads."""
    projections = [layer.mlp.down_proj for layer in model.base_model.layers]

    @torch.inference_mode()
    def measure() -> NDArray[np.float64]:
        kept: list[list[Tensor]] = [[] for _ in projections]

        def keep(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            return lambda _, inputs: kept[layer].append(inputs[0])

        handles = [
            projection.register_forward_pre_hook(keep(layer))
            for layer, projection in enumerate(projections)
        ]
        model.set_attn_implementation("eager")
        for batch in batches:
            model(input_ids=batch, use_cache=False).logits.float()
        model.set_attn_implementation("sdpa")
        for handle in handles:
            handle.remove()
        means = [torch.cat(activations).abs().mean(dim=(0, 1)) for activations in kept]
        return np.stack([mean.double().cpu().numpy() for mean in means])

    return measure


def check_agreement(measurements: dict[str, Measurement]) -> None:
    """Warm up, and make sure that all versions measure the same."""
    results = {name: measure() for name, measure in measurements.items()}
    expected = results["straightforward fp32"]
    for name, tolerance in {"extraction fp32": 1e-5, "extraction bf16": 2e-2}.items():
        error = np.mean(np.abs(results[name] / expected - 1))
        print(f"{name}: mean |c| is off the straightforward version by {error:.1e} on average")
        if not error < tolerance:
            raise SystemExit(f"{name} does not measure what the straightforward version does")


def peak_memory_mb(measure: Measurement, device: torch.device) -> float:
    """Return by how much the peak memory of a measurement exceeds what was in use before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        measure()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL(None).malloc_trim(0)  # give freed memory back, or it would hide what is used next
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark (proc(5))
    before_mb = resident_mb("VmRSS")
    measure()
    return resident_mb("VmHWM") - before_mb


def resident_mb(field: str) -> float:
    """Return a memory field of /proc/self/status in MiB."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def print_table(seconds: dict[str, list[float]], memory: dict[str, float], num_tokens: int) -> None:
    """Print throughput, ratios of throughput and peak memory."""
    header = ("tokens/s", "to bare forward", "to straightforward", "peak MiB", "over bare MiB")
    print(f"{'':20}" + "".join(f"{title:>22}" for title in header))
    for name, times in seconds.items():
        bare_name = f"bare {name.split()[1]}"
        cells = (
            f"{num_tokens / statistics.median(times):.0f}",
            ratio(seconds[bare_name], times),
            ratio(seconds["straightforward fp32"], times),
            f"{memory[name]:.0f}",
            f"{memory[name] - memory[bare_name]:.0f}",
        )
        print(f"{name:20}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
