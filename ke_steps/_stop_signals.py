"""SIGTERM and SIGINT while a training runs: noted at once, obeyed at the end of the step."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ke_steps import _ranks

ECHO_SECONDS = 10.0
"""Several ranks get a signal twice when it goes to all processes and the launcher passes it on."""


class StopRequest:
    """Whether the process was asked to end, and by which signal."""

    def __init__(self) -> None:
        self.number = 0
        """The signal's; 0 as long as there is none."""

        self._noted_at = 0.0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one is noted, a second one ends the process at once."""
        if not self.number:
            self.number = number
            self._noted_at = time.monotonic()
        elif _ranks.num_ranks() == 1 or time.monotonic() - self._noted_at > ECHO_SECONDS:
            name = signal.Signals(number).name
            print(f"stopped by a second signal, {name}: not saved", file=sys.stderr, flush=True)
            os._exit(128 + number)


@contextmanager
def noting_signals() -> Iterator[StopRequest]:
    """Note SIGTERM and SIGINT inside the block; one that nobody obeyed is sent again after it."""
    request = StopRequest()
    before = {each: signal.signal(each, request.note) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if request.number:
        signal.raise_signal(request.number)
