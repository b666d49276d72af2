"""What the log of a job tells while it runs and when it has failed: its bar, its last lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

TAIL_BYTES = 16_384
BAR = re.compile(
    r"(?:(?P<name>[^\r\n|]*?): +)?(?P<percent>\d+)%\|[^\r\n]*?\| *[^\s/]+/\S+"
    r" \[[\d:]+<(?P<left>[\d:]+|\?)"
)


class Bar(NamedTuple):
    """The last progress bar of a log: what it counts, how far it is, and the time it says."""

    name: str
    fraction: float
    seconds_left: float | None


class Mark(NamedTuple):
    """A log as it was at one moment: one that has not changed since is of an earlier attempt."""

    modified_ns: int
    num_bytes: int


def mark(log: Path) -> Mark | None:
    """Return what a log is like now; None if there is none. No clock of another machine counts."""
    try:
        found = log.stat()
    except OSError:
        return None
    return Mark(found.st_mtime_ns, found.st_size)


def read_bar(log: Path) -> Bar | None:
    """Return the last bar that ``tqdm`` has drawn in a log; None where there is none."""
    *_, last = [None, *BAR.finditer(_end_of(log))]
    if last is None:
        return None
    left = None if last["left"] == "?" else _seconds(last["left"])
    return Bar((last["name"] or "").strip(), int(last["percent"]) / 100, left)


def _seconds(clock: str) -> float:
    """Read ``17``, ``1:17`` or ``2:01:17``."""
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part or 0)
    return float(seconds)


def last_lines(log: Path, num_lines: int) -> list[str]:
    """Return the last lines that are not empty; of a line drawn over and over its last state."""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in _end_of(log).split("\n")]
    return [line.rstrip() for line in lines if line.strip()][-num_lines:]


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
