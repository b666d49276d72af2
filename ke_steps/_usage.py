"""What a job used of its machine: time, memory, and its GPU."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil


class Usage:
    """Counts from the start of the process on."""

    def summary(self) -> dict[str, Any]:
        """Return the fields of the job record."""
        started = psutil.Process().create_time()  # so that the start-up of torch counts too
        return {
            "started_unix_seconds": started,
            "wall_seconds": time.time() - started,
            "cpu_seconds": time.process_time(),
            "peak_memory_mb": _peak_memory_mb(),
        }


@contextmanager
def watching() -> Iterator[Usage]:
    """Watch what the job uses while the block runs."""
    yield Usage()


def _peak_memory_mb() -> float:
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what the launching process used before exec
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if peak is not None:
            return int(peak[1]) / 1024
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_per_unit / 2**20
