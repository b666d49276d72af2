"""What the benchmarks run on: device, models, memory, the peak of the arithmetic, a profile."""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, OlmoConfig, PreTrainedModel

from benchmarks.comparison import Measurement
from ke_steps.models.loading import prepare_torch
from ke_steps.planning.gpu_time import PEAK_FLOPS
from ke_steps.planning.model_shapes import ModelShape, shape_of_config

PROFILED_ROWS = 20

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def add_options(parser: argparse.ArgumentParser, *, scale: float, num_repeats: int) -> None:
    """Add what every benchmark takes; ``scale`` is the CPU's, a GPU gets the whole width."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=["cpu", "cuda"], default=found)
    parser.add_argument("--scale", type=float, default=1.0 if found == "cuda" else scale)
    parser.add_argument("--num-layers", type=int, default=16)
    parser.add_argument("--num-repeats", type=int, default=num_repeats)
    parser.add_argument("--num-threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="not the clock's: with one thread, on a machine that does something else besides",
    )
    parser.add_argument("--profile", action="store_true", help="say where the time goes, and end")


def clock_of(options: argparse.Namespace) -> Callable[[], float]:
    """Return what seconds are read from."""
    return time.process_time if options.cpu_time else time.perf_counter


def prepare(options: argparse.Namespace) -> torch.device:
    """Prepare torch as the steps do; end where there is no such device, rather than take another.

    Raises:
        SystemExit: a GPU was asked for and torch finds none.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU that it can use")
    device = prepare_torch(options.num_threads, seed=0)
    device = torch.device("cpu") if options.device == "cpu" else device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    print(
        f"{name}, {options.num_threads} threads, torch {torch.__version__},"
        f" transformers {transformers.__version__}"
    )
    return device


def processor() -> str:
    """Return the CPU's name."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else "CPU"


def olmo_config(options: argparse.Namespace) -> OlmoConfig:
    """Return OLMo-1B's config with every width multiplied by ``--scale``."""
    scale = options.scale
    return OlmoConfig(
        vocab_size=round(50304 * scale),
        hidden_size=round(2048 * scale),
        intermediate_size=round(8192 * scale),
        num_hidden_layers=options.num_layers,
        num_attention_heads=round(16 * scale),
        max_position_embeddings=round(2048 * scale),
        tie_word_embeddings=True,
        pad_token_id=1,
        eos_token_id=0,
        architectures=["OlmoForCausalLM"],  # by which TransformerLens knows it
    )


def describe(config: OlmoConfig) -> str:
    """Return the sizes of a model in words."""
    return (
        f"{config.num_hidden_layers} layers, hidden {config.hidden_size},"
        f" m {config.intermediate_size}, {config.num_attention_heads} heads,"
        f" vocabulary {config.vocab_size}"
    )


def random_model(
    config: OlmoConfig, device: torch.device, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """Build a model with the same random weights every time, in evaluation mode."""
    transformers.set_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    for parameter in model.parameters():  # not buffers: rotary frequencies stay fp32
        parameter.data = parameter.data.to(dtype)
    return model.to(device)


def shape_of(config: OlmoConfig) -> ModelShape:
    """Return how much arithmetic a model takes."""
    shape = shape_of_config(config.to_dict())
    assert shape is not None
    return shape


def peak_flops(precision: str, device: torch.device, config: OlmoConfig) -> tuple[float, str]:
    """Return the most operations per second, and where the number is from.

    On a GPU of the plan's table it is the published one; elsewhere that of a product of the size of
    the feed-forward layer, the best of a few.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for gpu, peak in PEAK_FLOPS.items():
            if gpu.split()[0] in name:
                return peak[precision], f"published for {gpu}"
    rows = 4096 if device.type == "cuda" else 512
    shapes = (rows, config.hidden_size), (config.hidden_size, config.intermediate_size)
    a, b = (torch.randn(shape, device=device, dtype=DTYPES[precision]) for shape in shapes)
    num_products = 10 if device.type == "cuda" else 1
    flops = num_products * 2 * rows * config.hidden_size * config.intermediate_size
    best = 0.0
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(num_products):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, flops / (time.perf_counter() - started))
    return best, "of a matrix product, measured"


def share_of_peak(flops: float, times: list[float], peak: float) -> str:
    """Return operations per second at the median, and as a share of the peak."""
    reached = flops / statistics.median(times)
    return f"{reached / 1e12:.3f} ({reached / peak:.0%})"


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


def print_profile(measure: Measurement, device: torch.device) -> None:
    """Print which operations a measurement spends its time in, once it is warm."""
    measure()
    on_gpu = device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if on_gpu else []
    with torch.profiler.profile(activities=kinds) as profile:
        measure()
    by = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    print(profile.key_averages().table(sort_by=by, row_limit=PROFILED_ROWS))
