"""What share of an extraction is the forward pass: timed inside of it, while it runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from benchmarks.comparison import Measurement
from ke_steps.measuring import extraction
from ke_steps.measuring.moments import GroupMeans

EXTRACTION_ONLY = [
    (GroupMeans, "start_batch"),
    (GroupMeans, "add"),
    (GroupMeans, "finish"),
    (extraction, "memory_norms"),
]
"""What an extraction of coefficients does beside the forward pass."""


def forward_share(measure: Measurement, clock: Callable[[], float]) -> float:
    """Return what share of an extraction's time is not spent on what only it does."""
    spent = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            nonlocal spent
            started = clock()
            result = function(*given)
            spent += clock() - started
            return result

        return call

    with ExitStack() as stack:
        for owner, name in EXTRACTION_ONLY:
            stack.enter_context(patch.object(owner, name, timed(getattr(owner, name))))
        started = clock()
        measure()
        return 1 - spent / (clock() - started)
