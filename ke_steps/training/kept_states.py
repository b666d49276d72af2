"""States of a training that stay, so that a later job takes up the same training at any of them.

``states/`` holds one folder for each step whose weights are asked for, and for the last: the state
after that step (``training.resuming``) and what the run's watcher adds. A job that asks for other
steps of the same training goes on from the nearest state before each that is missing, up to it.
What each state is of is compared without the setting ``steps``, which a job must ``disregard``: a
state that is of another training, or damaged, is removed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection
from pathlib import Path

from ke_steps.artefacts.places import STATES
from ke_steps.models import ranks
from ke_steps.training.log import Watcher
from ke_steps.training.resuming import Unfinished


class KeptStates(Unfinished):
    """The folder of a training's states, those at some steps to be kept."""

    def __init__(self, training: Path, watcher: Watcher, steps: Collection[int]) -> None:
        """Take the training table, beside which the folder lies, the watcher, and the steps."""
        super().__init__(training, watcher)
        self.folder = training.parent / STATES
        self.kept = frozenset(steps)

    def take_stock(self) -> None:
        """Remove, on the first rank, what is of no use to this training."""
        if ranks.is_first():
            self.remove_half_written()
            for step in self._steps():
                if reason := self._refusal(step):
                    print(f"removed: {reason}", file=sys.stderr)
                    shutil.rmtree(self.state_of(step))

    def are_missing(self, *, first: bool = False) -> bool:
        """Tell, the same on every rank, whether there is something to be trained.

        Args:
            first: asks for step 0 alone, the untrained model, which no training makes.
        """
        missing = self._missing() if ranks.is_first() else []
        return ranks.highest(0 in missing if first else len(missing)) > 0

    def begin(self) -> Path | None:
        """Return the state to go on from to the first step that is missing; None to start anew."""
        saved = super().begin()
        self.stop = ranks.highest(self.stop or 0)
        return saved

    def finish(self) -> None:
        """Remove the states that were saved on the way."""
        self._remove_states(step for step in self._steps() if step not in self.kept)

    def _find(self) -> int:
        """Return the last step before the first missing one whose state is there; 0 for none.

        Training then goes on up to the last step that is missing before the next state.
        """
        there, missing = self._steps(), self._missing()
        start = max((step for step in there if step < missing[0]), default=0)
        later = min((step for step in there if step > missing[0]), default=missing[-1] + 1)
        self.stop = max(step for step in missing if step < later)
        return start

    def _missing(self) -> list[int]:
        return sorted(self.kept - set(self._steps()))
