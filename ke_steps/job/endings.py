"""How a step ends when it cannot go on: in one line for all that is no fault of the program.

- status 1: a ``UserError``, a full disk, a file that cannot be used, too little memory;
- status 143 or 130: SIGTERM or SIGINT;
- status 124: the time limit.

What is left keeps its traceback, as it is a bug. Among the ranks of one job the first one speaks;
another one speaks only when it alone failed.

What is due once a job has succeeded, such as parting from its other ranks, is registered with
``at_success``: a job knows nothing of what its step meets on the way.
"""

from __future__ import annotations

import errno
import faulthandler
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ke_steps.job.errors import Stopped, UserError
from ke_steps.job.usage import others_on_gpu

STANDARD_ERROR = 2
TIMED_OUT = 124
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Statuses of a step that was stopped from outside."""

SECONDS_PER_MINUTE = 60.0
MIN_GRACE_SECONDS, MAX_GRACE_SECONDS = 20.0, 300.0
SECONDS_BEFORE_OTHER_RANKS_SPEAK = 3.0
"""By then torchrun has ended them, when the first rank met the same end."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
BROKEN = frozenset({errno.EIO, errno.ESTALE})

_at_success: ContextVar[list[Callable[[], None]] | None] = ContextVar("at_success", default=None)

_PARTIAL = re.compile(r"\.(?P<name>.+)\.\d+\.partial")
_UNNAMED = re.compile(r"\b(models|recipes|corpora)\.<name>")
_NUMBER = re.compile(r"(step|seed|shard)\d+")
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")
_GPU_MEMORY = re.compile(r"CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED")
_CPU_MEMORY = re.compile(r"DefaultCPUAllocator: .*memory")


@dataclass
class RunningStep:
    """The running step, as far as its ending must speak of it."""

    name: str
    settings: str
    """JSON as the step received it, to tell which setting to change."""

    output: Path
    """The first one, for errors that name no file."""

    time_limit_minutes: int | None = None
    place: str = ""
    """The folder of the job below that of its rule; it has the names of model, recipe, corpus."""

    has_timed_out: bool = False
    memory_remedy: str | None = None
    """Against too little memory, where no key of a study helps."""

    elsewhere: str = "results_dir"
    """What to set to another folder where this one cannot be used."""


@contextmanager
def in_one_line(step: RunningStep) -> Iterator[None]:
    """Run a step; what it cannot help ends the process with one line."""
    try:
        with _stopping_at_signals(step), _watching(step), _succeeding():
            yield
    except Stopped as stop:
        if step.has_timed_out:
            _end(step, f"{_too_long(step)}; {stop.message}", TIMED_OUT)
        _end(step, stop.message, stop.status)
    except Exception as error:
        line = explain_failure(error, step)
        if line is None:
            raise
        _end(step, line, 1)


def at_success(function: Callable[[], None]) -> None:
    """Have a function called when the running job has succeeded, its record written.

    Nothing is called when the job fails, nor outside a job, as in a unit test.
    """
    functions = _at_success.get()
    if functions is not None:
        functions.append(function)


@contextmanager
def _succeeding() -> Iterator[None]:
    functions: list[Callable[[], None]] = []
    token = _at_success.set(functions)
    try:
        yield
        for function in functions:
            function()
    finally:
        _at_success.reset(token)


def _end(step: RunningStep, line: str, status: int) -> NoReturn:
    rank = int(os.environ.get("RANK", "0"))
    if rank:
        if status != 1:
            sys.exit(status)  # a signal reaches all ranks
        time.sleep(SECONDS_BEFORE_OTHER_RANKS_SPEAK)
        line = f"rank {rank}: {line}"
    line = f"{step.name}: {line}"
    if status == 1:
        sys.exit(line)
    print(line, file=sys.stderr)
    sys.exit(status)


@contextmanager
def _stopping_at_signals(step: RunningStep) -> Iterator[None]:
    """Turn the first SIGTERM or SIGINT into ``Stopped``, so that what is half-written is removed.

    Further ones do not disturb that; when it takes too long, the process ends all the same.
    """
    timers: list[threading.Timer] = []

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        message = f"stopped by {signal.Signals(number).name}"
        timers.append(_end_hard_after(MIN_GRACE_SECONDS, f"{step.name}: {message}", 128 + number))
        raise Stopped(message, 128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for each, handler in before.items():
            signal.signal(each, handler)


def _end_hard_after(seconds: float, line: str, status: int) -> threading.Timer:
    def end() -> None:
        faulthandler.dump_traceback(STANDARD_ERROR, all_threads=True)
        os.write(STANDARD_ERROR, f"{line}\n".encode())
        os._exit(status)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


@contextmanager
def _watching(step: RunningStep) -> Iterator[None]:
    """End the process at its time limit, wherever it hangs; the log shows where that was."""
    if step.time_limit_minutes is None:
        yield
        return
    limit = step.time_limit_minutes * SECONDS_PER_MINUTE
    grace = min(max(limit / 20, MIN_GRACE_SECONDS), MAX_GRACE_SECONDS, limit / 2)

    def ask() -> None:
        step.has_timed_out = True
        os.kill(os.getpid(), signal.SIGTERM)

    soft = threading.Timer(limit - grace, ask)
    soft.daemon = True
    soft.start()
    hard = _end_hard_after(limit, f"{step.name}: {_too_long(step)}", TIMED_OUT)
    # needs no interpreter: for a library that holds its lock and never returns
    faulthandler.dump_traceback_later(limit + grace, exit=True, file=STANDARD_ERROR)
    try:
        yield
    finally:
        soft.cancel()
        hard.cancel()
        faulthandler.cancel_dump_traceback_later()


def _too_long(step: RunningStep) -> str:
    return (
        f"no end within {step.time_limit_minutes} minutes: raise cluster.jobs.{step.name}"
        ".runtime_minutes if it needs longer"
    )


def explain_failure(error: Exception, step: RunningStep) -> str | None:
    """Return one line on what went wrong and its remedy; None for a bug."""
    if isinstance(error, UserError):
        return _with_names(str(error), step.place)
    failure = _system_failure(error)
    if failure is not None:
        return _explain_file(failure, step)
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or _GPU_MEMORY.search(text):
        remedy = step.memory_remedy or _with_names(_remedy_on_gpu(step), step.place)
        shared = others_on_gpu()
        return f"out of GPU memory{shared and f' ({shared})'}: {remedy}"
    if isinstance(error, MemoryError) or _CPU_MEMORY.search(text):
        return f"out of memory: {step.memory_remedy or _remedy_of_jobs(step)}"
    return None


def _with_names(message: str, place: str) -> str:
    """Fill in ``models.<name>``, ``recipes.<name>`` and ``corpora.<name>``.

    A step is told what a section of the study says, not what it is called. A place begins with the
    model, if it has one, and ends with the recipe or the corpus, if it has one; numbers aside.
    """
    names = [part for part in place.split("/") if part and not _NUMBER.fullmatch(part)]
    if not names:
        return message
    sections = {"models": names[0], "recipes": names[-1], "corpora": names[-1]}
    return _UNNAMED.sub(lambda found: f"{found[1]}.{sections[found[1]]}", message)


def _system_failure(error: Exception) -> OSError | None:
    """Return the failure of a file that an exception is about, with its number."""
    if isinstance(error, OSError):
        is_of_a_file = error.filename is not None or error.errno in FULL | FORBIDDEN | BROKEN
        return error if is_of_a_file else None
    # safetensors and tokenizers have exceptions of their own, and torch does not say why it failed
    number = _RUST_ERROR.search(str(error))
    if number is None and "inline_container.cc" not in str(error):
        return None
    code = int(number[1]) if number else errno.ENOSPC
    return OSError(code, os.strerror(code))


def _explain_file(failure: OSError, step: RunningStep) -> str:
    name = failure.filename2 or failure.filename
    path = step.output if name is None else _target(Path(os.fsdecode(name)))
    if failure.errno in FULL:
        return f"disk full: cannot write {path} ({failure.strerror}): free space and run again"
    if failure.errno in FORBIDDEN:
        return (
            f"cannot use {path} ({failure.strerror}): let this user read and write there, or set"
            f" {step.elsewhere} to another folder"
        )
    return f"{path}: {failure.strerror}: mend it and run again"


def _target(path: Path) -> Path:
    """Return the file that a partial one was to become."""
    partial = _PARTIAL.fullmatch(path.name)
    return path.with_name(partial["name"]) if partial else path


def _remedy_of_jobs(step: RunningStep) -> str:
    return f"raise cluster.jobs.{step.name}.memory_gb, or run fewer jobs at once"


def _remedy_on_gpu(step: RunningStep) -> str:
    settings = json.loads(step.settings)
    section = {
        "inject_knowledge": "recipes.<name>",
        "branch_checkpoint": "models.<name>.source",
        "extract_shard": "extract_coefficients",
    }.get(step.name, step.name)
    for key in ("micro_batch_size_sequences", "batch_size_sequences"):
        if settings.get(key, 1) > 1:
            return f"lower {section}.{key}"
    return "shorten sequence_length_tokens of the corpus, or use a GPU with more memory"
