"""What is made once for all processes that test."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

Made = TypeVar("Made")


def once(file: Path, make: Callable[[], Made]) -> Made:
    """Return what the first process made and kept in a file; the others wait for it and read it.

    Nobody changes files that it leads to.
    """
    with FileLock(f"{file}.lock"):
        if not file.exists():
            file.write_bytes(pickle.dumps(make()))
    made: Made = pickle.loads(file.read_bytes())
    return made
