"""Whether a model scores alike in fp32 and in the lower precision that a study asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_ITEMS = 50
"""Of each task, its first."""

NUM_SEQUENCES = 16
"""Of the held-out text, its first."""


def differences(
    answers: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    bits_per_token: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Mapping[str, Any]:
    """Return what changes from fp32 to the lower precision, as a table's provenance tells it.

    Args:
        answers: whether the same items were answered right, in the lower precision and in fp32, of
            each task.
        bits_per_token: of the same sequences, likewise.
    """
    lower, full = bits_per_token
    return {
        "num_items": sum(len(own) for own, _ in answers),
        "num_other_answers": sum(int((own != other).sum()) for own, other in answers),
        "accuracy": float(np.mean(list(starmap(_difference, answers)))),
        "num_sequences": len(lower),
        "bits_per_token": _difference(lower, full),
    }


def _difference(lower: NDArray[Any], full: NDArray[Any]) -> float:
    return float(lower.mean() - full.mean())
