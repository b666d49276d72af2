"""Interleaved timing, ratios, and whether they are measured well enough to tell."""

from __future__ import annotations

import importlib.metadata
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95

Measurement = Callable[[], NDArray[np.float64]]
"""Does the work once and returns its result, by which versions are compared."""

NOT_INSTALLED = "not installed (pip install -r benchmarks/requirements.txt)"


def is_installed(name: str, distribution: str) -> bool:
    """Tell whether a peer is there; say its version, or that it is not."""
    try:
        print(f"{name}: {importlib.metadata.version(distribution)}")
    except importlib.metadata.PackageNotFoundError:
        print(f"{name}: {NOT_INSTALLED}")
        return False
    return True


def with_torch_defaults(measure: Measurement) -> Measurement:
    """Have a peer run as torch comes, without the determinism that the steps ask for."""

    def measure_by_default() -> NDArray[np.float64]:
        torch.use_deterministic_algorithms(False)
        try:
            return measure()
        finally:
            torch.use_deterministic_algorithms(True)

    return measure_by_default


def interleave(
    measurements: Mapping[str, Measurement],
    num_repeats: int,
    device: torch.device,
    seconds_of: Callable[[NDArray[np.float64]], float] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return seconds per repeat; the order reverses each time, so that drift hits all alike.

    ``seconds_of`` reads them from a result; without it they are those of the whole measurement.
    """
    seconds: dict[str, list[float]] = {name: [] for name in measurements}
    for repeat in range(num_repeats):
        for name in list(measurements)[:: 1 if repeat % 2 else -1]:
            started = clock()
            result = measurements[name]()
            if device.type == "cuda":
                torch.cuda.synchronize()
            elapsed = clock() - started
            seconds[name].append(elapsed if seconds_of is None else seconds_of(result))
    return seconds


def ratios(reference: Sequence[float], times: Sequence[float]) -> list[float]:
    """Return how many times faster than the reference each repeat was."""
    return [a / b for a, b in zip(reference, times, strict=True)]


def told(found: Sequence[float]) -> str:
    """Return the median (least to most)."""
    return f"{statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f})"


def interval_of_median(found: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median by order statistics; NaN with too few repeats."""
    interval: Any = stats.quantile_test(found, p=0.5).confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high)


def judged(what: str, found: Sequence[float], goal: float) -> str:
    """Say whether a ratio reaches its goal, and whether the repeats resolve that."""
    low, high = interval_of_median(found)
    if low >= goal:
        verdict = "met"
    elif high < goal:
        verdict = "missed"
    else:
        side = "above" if statistics.median(found) >= goal else "below"
        verdict = f"not resolved (median {side})"
    return (
        f"{what}, goal {goal:.2f}: {verdict}; median {statistics.median(found):.3f},"
        f" its 95 % interval {low:.3f} to {high:.3f}, {len(found)} repeats"
    )
