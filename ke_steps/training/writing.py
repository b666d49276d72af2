"""Saved states written while training goes on: copied at once, written and hashed in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map_only


class Writer:
    """Writes one state at a time; a second one waits for the first.

    The thread ends with the process, whatever it was writing: a state counts only with its last
    file.
    """

    stood_still_seconds = 0.0
    """How long the last state kept training waiting: copied, and the one before written."""

    def __init__(self) -> None:
        self._tasks: list[Callable[[], None]] = []
        self._thread: Thread | None = None
        self._error: BaseException | None = None
        self._began = 0.0

    def begin(self) -> None:
        """Begin a state, as soon as the one before is written.

        Raises:
            OSError: as ``check``.
        """
        self._began = time.monotonic()
        self.wait()
        self._tasks = []

    def add(self, task: Callable[[], None]) -> None:
        """Have a part of the state written, from what training does not change."""
        self._tasks.append(task)

    def start(self) -> None:
        """Write what was added, in its order."""
        self._thread = Thread(target=self._run, args=(self._tasks,), daemon=True)
        self._thread.start()
        self.stood_still_seconds = time.monotonic() - self._began

    def wait(self) -> None:
        """Return when everything is written.

        Raises:
            OSError: as ``check``.
        """
        self.join()
        self.check()

    def join(self) -> None:
        """Return when nothing is being written, whether it went well or not."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def check(self) -> None:
        """Tell what went wrong in writing, once.

        Raises:
            OSError: such as a full disk, or whatever else it was.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, tasks: list[Callable[[], None]]) -> None:
        try:
            for task in tasks:
                task()
        except BaseException as error:  # is told in the thread that trains
            self._error = error


def copied(tree: Any) -> Any:
    """Return nested containers with copies of their tensors, on the CPU."""
    return tree_map_only(Tensor, lambda each: each.detach().to("cpu", copy=True), tree)
