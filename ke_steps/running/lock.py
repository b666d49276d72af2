"""One run at a time in a results folder, by a lock that the kernel gives back whatever happens."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO

from ke_steps.job.errors import UserError

NAME = ".run.lock"
KEEPS_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}
"""What a file system answers that has no ``flock``, such as Lustre mounted without it."""

TRIAL_BYTES = 2**20
"""Written and removed, to see whether anything can be written."""


def short_name(results_dir: Path) -> str:
    """Return 12 hex digits that stand for a results folder, whatever path leads there."""
    return sha256(str(results_dir.resolve()).encode()).hexdigest()[:12]


@contextmanager
def only_run(results_dir: Path) -> Iterator[None]:
    """Make a results folder, and keep every other run out of it until the block ends.

    The lock file says who has it: host, pid and start, as JSON.

    Raises:
        UserError: another run has it, or it cannot be made or written to.
    """
    with ExitStack() as stack:
        try:
            results_dir.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((results_dir / NAME).open("a+"))
            _lock(file, results_dir, stack)
            _try_writing(results_dir)
            _sign(file)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(
                f"results_dir: {results_dir}: {error.filename} is no folder: move it or choose"
                " another place"
            ) from error
        except OSError as error:
            raise UserError(
                f"results_dir: {results_dir} cannot be written to: {error.strerror}: choose"
                " another place or mend this one"
            ) from error
        yield
        file.truncate(0)


def _lock(file: IO[str], results_dir: Path, stack: ExitStack) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(_taken(_holder(file), results_dir)) from None
    except OSError as error:
        if error.errno not in KEEPS_NO_LOCKS:
            raise
        _lock_on_this_host(file, results_dir, stack)


def _lock_on_this_host(file: IO[str], results_dir: Path, stack: ExitStack) -> None:
    """Lock a file of this host instead; only a run killed on another host needs a hand then."""
    place = Path(tempfile.gettempdir()) / f"ke-steps-{os.getuid()}-{short_name(results_dir)}.lock"
    own = stack.enter_context(place.open("a+"))
    holder = _holder(file)
    try:
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(_taken(holder, results_dir)) from None
    if holder and holder["host"] != platform.node():
        raise UserError(
            f"{_taken(holder, results_dir)}; this file system keeps no locks: if that run was"
            f" killed, remove {results_dir / NAME}"
        )


def _holder(file: IO[str]) -> dict[str, str]:
    """Return what the lock file says; nothing if its writer has not come that far."""
    file.seek(0)
    try:
        holder: dict[str, str] = json.loads(file.read())
    except json.JSONDecodeError:
        return {}
    return holder


def _taken(holder: dict[str, str], results_dir: Path) -> str:
    who = " (pid {pid} on host {host}, since {since})".format(**holder) if holder else ""
    return f"another run{who} is working on {results_dir}: wait for it or stop it"


def _try_writing(results_dir: Path) -> None:
    with tempfile.TemporaryFile(dir=results_dir) as file:
        file.write(bytes(TRIAL_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _sign(file: IO[str]) -> None:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    file.truncate(0)
    json.dump({"host": platform.node(), "pid": str(os.getpid()), "since": since}, file)
    file.flush()
