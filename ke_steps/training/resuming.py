"""The state of a training under way, so that the same job goes on from there after any end.

The folder ``unfinished/`` beside the job's first output holds ``checkpoint-<step>/``: what
transformers' ``Trainer`` saves (weights, optimiser, scheduler, random generators, its log), what
the run's watcher adds, and ``state.json``, written last: which job the state is of, and the sha256
of every file. Training waits until the state is copied; it is written and hashed while training
goes on (``training.writing``). A state is used only when all of that is as written; otherwise
training starts over. The folder is no result: no rule reads it, and it is removed when the job has
succeeded.

SIGTERM and SIGINT are noted at once and obeyed at the end of the step, when the state is saved.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ke_steps.artefacts.places import state_of
from ke_steps.job import provenance
from ke_steps.job.errors import Stopped, UserError
from ke_steps.job.files import canonical_json, hash_file, write_json
from ke_steps.models import ranks
from ke_steps.training.log import Watcher
from ke_steps.training.sharding import is_asked_for, part_of
from ke_steps.training.writing import Writer

FOLDER = "unfinished"
STATE = "state.json"
TIME_IS_UP = 1
"""A reason to save; the others are the numbers of signals, all larger."""

SHARE = 0.02
"""Of the time that passes between two states, how much training may stand still for one."""

LEAST_SECONDS = 60.0
"""Between two states at least, and before the first, which tells what one costs."""

POLL_SECONDS = 0.05
"""Between two looks whether other ranks have written their parts."""

ECHO_SECONDS = 10.0
"""Several ranks get a signal twice when it goes to all processes and the launcher passes it on."""


class Unfinished:
    """The folder of a training's saved states."""

    kept: frozenset[int] = frozenset()
    """Steps whose states are saved whenever they are reached, and stay."""

    stop: int | None = None
    """The step after which training ends; None for its last."""

    def __init__(self, first_output: Path, watcher: Watcher) -> None:
        """Take the job's first output, beside which the folder lies, and the run's watcher."""
        self.folder = first_output.parent / FOLDER
        self.writer = Writer()
        self._watcher = watcher

    def begin(self) -> Path | None:
        """Return the state to go on from, which the watcher has taken up; None to start anew."""
        step = self._find() if ranks.is_first() else 0
        step = ranks.highest(step)
        if step:
            if ranks.is_first():
                print(f"going on from the state saved after step {step}", file=sys.stderr)
            self._watcher.begin(self.state_of(step))
            return self.state_of(step)
        self._watcher.begin(None)
        return None

    def state_of(self, step: int) -> Path:
        """Return the folder of the state after a step."""
        return state_of(self.folder, step)

    def complete(self, step: int) -> None:
        """Have the state that ``Trainer`` saves written whole, as the one to go on from."""
        ranks.wait()
        if ranks.is_first():
            self._watcher.save(self.state_of(step))
            self.writer.add(partial(self._seal, step, _job()))
        self.writer.start()

    def _seal(self, step: int, job: Mapping[str, Any]) -> None:
        """Write the state's last file, when the other ranks' parts are there; remove older ones."""
        state = self.state_of(step)
        if is_asked_for() and step:  # the untrained model is not in parts
            while not all(part_of(state, each).is_file() for each in range(ranks.num_ranks())):
                time.sleep(POLL_SECONDS)
        write_json(state / STATE, {"job": job, "files": _hashes(state)})
        self._remove_states(s for s in self._steps() if s < step and s not in self.kept)

    def finish_writing(self) -> None:
        """Return when the last state is whole; on every rank.

        Raises:
            OSError: such as a full disk, or whatever else went wrong in writing it.
        """
        self.writer.wait()
        ranks.wait()

    def remove_half_written(self) -> None:
        """Remove a state that could not be written whole, lest it stays to fill the disk."""
        self.writer.join()
        for step in self._steps() if ranks.is_first() else []:
            if not (self.state_of(step) / STATE).is_file():
                shutil.rmtree(self.state_of(step), ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder: the job has its outputs, or must start over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _find(self) -> int:
        """Return the step of the newest state, 0 if none is of use: then nothing is left of any."""
        steps = [step for step in self._steps() if (self.state_of(step) / STATE).is_file()]
        refusal = self._refusal(max(steps)) if steps else None
        if refusal is not None:
            print(f"starting over: {refusal}", file=sys.stderr)
        if refusal is not None or not steps:
            self.remove()
            return 0
        self._remove_states(step for step in self._steps() if step != max(steps))
        return max(steps)

    def _refusal(self, step: int) -> str | None:
        """Return why a state is not to be used; None if it is."""
        path = self.state_of(step)
        try:
            state = json.loads((path / STATE).read_text())
            job, written = state["job"], state["files"]
            found = _hashes(path)
            found.pop(STATE)
        except (OSError, ValueError, TypeError, KeyError) as error:
            return f"{path} is not readable ({error})"
        now = json.loads(canonical_json(_job()))
        changed = [key for key in sorted(now) if job.get(key) != now[key]]
        if changed:
            return f"{path} is of another job: {', '.join(changed)} differ"
        if damaged := [name for name in written if written[name] != found.get(name)]:
            return f"{path} is damaged: {damaged[0]} is not as it was written"
        try:
            self._watcher.begin(path)
        except UserError as error:
            return str(error)
        return None

    def _steps(self) -> list[int]:
        names = [path.name for path in self.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")]
        numbers = [name.rpartition("-")[2] for name in names]
        return [int(number) for number in numbers if number.isdecimal()]

    def _remove_states(self, steps: Iterable[int]) -> None:
        for step in steps:
            shutil.rmtree(self.state_of(step), ignore_errors=True)


def _job() -> dict[str, Any]:
    """Describe the running job by all that its numbers depend on."""
    job = provenance.current()
    keys = ("step", "code", "settings", "inputs", "versions", "device")
    layout = {"num_ranks": ranks.num_ranks(), "is_sharded": is_asked_for()}
    return {key: job.get(key) for key in keys} | layout


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


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
        elif ranks.num_ranks() == 1 or time.monotonic() - self._noted_at > ECHO_SECONDS:
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


class Saver(TrainerCallback):
    """Saves every so often, and before the process ends because of a signal."""

    def __init__(
        self, unfinished: Unfinished, interval_seconds: float | None, request: StopRequest
    ) -> None:
        """Take seconds between two states; None for what keeps their cost at ``SHARE``."""
        self._unfinished = unfinished
        self._interval_seconds = interval_seconds
        self._request = request
        self._saved_at = time.monotonic()
        self._saved_step = 0
        self._reason = 0

    def _interval(self) -> float:
        if self._interval_seconds is not None:
            return self._interval_seconds
        return max(LEAST_SECONDS, self._unfinished.writer.stood_still_seconds / SHARE)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Decide, the same on every rank, whether Trainer saves now."""
        self._unfinished.writer.check()
        is_due = time.monotonic() - self._saved_at >= self._interval()
        self._reason = ranks.highest(self._request.number or is_due * TIME_IS_UP)
        control.should_save = self._reason > 0 or state.global_step in self._unfinished.kept
        if state.global_step == self._unfinished.stop:
            control.should_training_stop = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Obey a signal that came during the last step."""
        self._reason = ranks.highest(self._request.number)
        if self._reason and self._saved_step == state.global_step:
            self._stop(state)
        control.should_save = self._reason > 0

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Complete what Trainer saves, and obey a signal."""
        self._unfinished.complete(state.global_step)
        self._saved_at, self._saved_step = time.monotonic(), state.global_step
        if self._reason > TIME_IS_UP:
            self._stop(state)

    def _stop(self, state: TrainerState) -> None:
        self._unfinished.finish_writing()
        raise Stopped(
            f"stopped by {signal.Signals(self._reason).name} after step {state.global_step} of"
            f" {state.max_steps}; saved, the same command goes on from there",
            128 + self._reason,
        )
