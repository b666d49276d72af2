"""What a job used of its machine: time, memory, and its GPU."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

SECONDS_BETWEEN_SAMPLES = 1.0


class Usage:
    """Counts from the start of the process on."""

    def __init__(self) -> None:
        self._utilisations: list[float] = []

    def summary(self) -> dict[str, Any]:
        """Return the fields of the job record; those of GPUs are None where none was used."""
        started = psutil.Process().create_time()  # so that the start-up of torch counts too
        samples = self._utilisations
        return {
            "started_unix_seconds": started,
            "wall_seconds": time.time() - started,
            "cpu_seconds": time.process_time(),
            "peak_memory_mb": _peak_memory_mb(),
            "peak_gpu_memory_mb": _peak_gpu_memory_mb(),
            "mean_gpu_utilisation": sum(samples) / len(samples) if samples else None,
        }

    def sample_gpus(self) -> None:
        """Note how busy the GPUs are that this process holds memory of, all their users counted."""
        cuda = sys.modules["torch"].cuda
        held = [device for device in _devices() if cuda.max_memory_reserved(device)]
        if held:
            busy = [cuda.utilization(device) for device in held]
            self._utilisations.append(sum(busy) / len(busy) / 100)


@contextmanager
def watching() -> Iterator[Usage]:
    """Watch what the job uses while the block runs; without a GPU nothing runs beside it."""
    usage, is_over = Usage(), Event()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        Thread(target=_watch_gpus, args=(usage, is_over), daemon=True).start()
    try:
        yield usage
    finally:
        is_over.set()


def _watch_gpus(usage: Usage, is_over: Event) -> None:
    while not is_over.wait(SECONDS_BETWEEN_SAMPLES):
        try:
            usage.sample_gpus()
        except Exception as error:  # the driver's errors have no class in common
            print(f"GPU utilisation is not sampled any more: {error}", file=sys.stderr)
            return


def _devices() -> range:
    cuda = sys.modules["torch"].cuda
    return range(cuda.device_count() if cuda.is_initialized() else 0)


def _peak_gpu_memory_mb() -> float | None:
    """Return the most that torch held of one GPU; None if this process used none."""
    if "torch" not in sys.modules:
        return None
    cuda = sys.modules["torch"].cuda
    peaks = [cuda.max_memory_reserved(device) for device in _devices()]
    return max(peaks) / 2**20 if any(peaks) else None


def _peak_memory_mb() -> float:
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what the launching process used before exec
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if peak is not None:
            return int(peak[1]) / 1024
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_per_unit / 2**20
