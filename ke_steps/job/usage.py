"""What a job used of its machine: time, memory, and its GPU."""

from __future__ import annotations

import gc
import os
import re
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

SECONDS_BETWEEN_SAMPLES = 1.0
RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024

BESIDE_TENSORS_BYTES = 2e9
"""What CUDA and its libraries take of a GPU for one process beside its tensors, at most."""


class Usage:
    """Counts from the start of the process on, so that the start-up of torch counts too, or now.

    Processes that it started and that have ended count as well, but not the ranks of a job on
    several GPUs: each has a process of its own.
    """

    def __init__(self, *, whole_process: bool = True) -> None:
        self._utilisations: list[float] = []
        self._started, self._cpu_seconds = psutil.Process().create_time(), 0.0
        if not whole_process:
            self._started, self._cpu_seconds = time.time(), _cpu_seconds()
            _forget_peaks()

    def summary(self) -> dict[str, Any]:
        """Return the fields of the job record; those of GPUs are None where none was used."""
        samples, ended = self._utilisations, resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "started_unix_seconds": self._started,
            "wall_seconds": time.time() - self._started,
            "cpu_seconds": _cpu_seconds() - self._cpu_seconds,
            "peak_memory_mb": max(_peak_memory_mb(), ended.ru_maxrss * RSS_UNIT_BYTES / 2**20),
            "peak_gpu_memory_mb": _peak_gpu_memory_mb(),
            "mean_gpu_utilisation": sum(samples) / len(samples) if samples else None,
        }

    def sample_gpus(self) -> None:
        """Note how busy the GPUs are that this process holds memory of, all their users counted."""
        cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
        held = [device for device in _devices() if cuda.max_memory_reserved(device)]
        if held:
            busy = [cuda.utilization(device) for device in held]
            self._utilisations.append(sum(busy) / len(busy) / 100)


@contextmanager
def watching(*, whole_process: bool = True) -> Iterator[Usage]:
    """Watch what the job uses while the block runs; without a GPU nothing runs beside it.

    Args:
        whole_process: whether all that the process has used so far counts as well.
    """
    usage, is_over = Usage(whole_process=whole_process), Event()
    if _has_gpus():
        Thread(target=_watch_gpus, args=(usage, is_over), daemon=True).start()
    try:
        yield usage
    finally:
        is_over.set()


def _has_gpus() -> bool:
    torch = sys.modules.get("torch")
    if torch is None:  # as yet: a step loads it late where it may not need it
        return bool(os.environ.get("CUDA_VISIBLE_DEVICES"))
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
    cuda = getattr(sys.modules.get("torch"), "cuda", None)  # None, too, while torch is loaded
    if cuda is None or not cuda.is_initialized():
        return range(0)
    return range(cuda.device_count())


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


def _cpu_seconds() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def let_go() -> None:
    """Give back what a job that is over holds still, as the process goes on with another one."""
    gc.collect()  # models lie in circles, such as that of a trainer and its callbacks
    if _devices():
        sys.modules["torch"].cuda.empty_cache()


def _forget_peaks() -> None:
    for device in _devices():
        sys.modules["torch"].cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # where Linux does not let it, the peak is that of the process
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_mb() -> float:
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what the launching process used before exec
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if peak is not None:
            return int(peak[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT_BYTES / 2**20
