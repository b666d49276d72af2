"""What a job used of its machine: time, memory, and its GPU."""

from __future__ import annotations

import re
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

SECONDS_BETWEEN_SAMPLES = 1.0
RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024

BESIDE_TENSORS_BYTES = 2e9
"""What CUDA and its libraries take of a GPU for one process beside its tensors, at most."""


class Usage:
    """Counts from the start of the process on, with processes that it started and that have ended.

    The ranks of a job on several GPUs are not among them: each has a process of its own.
    """

    def __init__(self) -> None:
        self._utilisations: list[float] = []

    def summary(self) -> dict[str, Any]:
        """Return the fields of the job record; those of GPUs are None where none was used."""
        started = psutil.Process().create_time()  # so that the start-up of torch counts too
        samples, ended = self._utilisations, resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "started_unix_seconds": started,
            "wall_seconds": time.time() - started,
            "cpu_seconds": time.process_time() + ended.ru_utime + ended.ru_stime,
            "peak_memory_mb": max(_peak_memory_mb(), ended.ru_maxrss * RSS_UNIT_BYTES / 2**20),
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
    if _has_gpus():
        Thread(target=_watch_gpus, args=(usage, is_over), daemon=True).start()
    try:
        yield usage
    finally:
        is_over.set()


def _has_gpus() -> bool:
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    with warnings.catch_warnings():  # of a driver that does not work: a job that needs it says so
        warnings.simplefilter("ignore")
        return bool(torch.cuda.is_available())


def _watch_gpus(usage: Usage, is_over: Event) -> None:
    while not is_over.wait(SECONDS_BETWEEN_SAMPLES):
        try:
            usage.sample_gpus()
        except Exception as error:  # the driver's errors have no class in common
            print(f"GPU utilisation is not sampled any more: {error}", file=sys.stderr)
            return


def _devices() -> range:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return range(0)
    return range(torch.cuda.device_count())


def _peak_gpu_memory_mb() -> float | None:
    """Return the most that torch held of one GPU; None if this process used none."""
    peaks = [sys.modules["torch"].cuda.max_memory_reserved(device) for device in _devices()]
    return max(peaks) / 2**20 if any(peaks) else None


def others_on_gpu() -> str:
    """Return in words what other processes hold of the GPU that this one uses; empty for nothing.

    For less than CUDA itself may take it is nothing, too.
    """
    if not _devices():
        return ""
    cuda = sys.modules["torch"].cuda
    free, whole = cuda.mem_get_info()
    held = whole - free - cuda.memory_reserved()
    if held <= BESIDE_TENSORS_BYTES:
        return ""
    return f"other processes hold {held / 1e9:.1f} of the GPU's {whole / 1e9:.1f} GB"


def _peak_memory_mb() -> float:
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what the launching process used before exec
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if peak is not None:
            return int(peak[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT_BYTES / 2**20
