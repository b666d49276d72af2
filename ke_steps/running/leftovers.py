"""What a run leaves behind when it is killed: processes, SLURM jobs, half-written files."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil

from ke_steps.job.errors import UserError
from ke_steps.running.lock import short_name

MARK = "KE_STEPS_RESULTS"
"""Environment variable of Snakemake and of all that it starts: the results folder's whole path."""

MORE_FOLLOWS = "KE_STEPS_MORE_FOLLOWS"
"""Environment variable of a Snakemake that is not the last of its run."""

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""For a training job to save its state after it is told to stop."""

SLURM_PATIENCE_SECONDS = 180.0


def mark(results_dir: Path) -> dict[str, str]:
    """Return the environment by which processes of a run are known afterwards."""
    return {MARK: str(results_dir.resolve())}


def slurm_prefix(results_dir: Path) -> str:
    """Return the beginning of the names of a study's SLURM jobs."""
    return f"ke-{short_name(results_dir)}"


def clear(results_dir: Path, *, on_slurm: bool, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """End what works on a results folder beside this process, and remove half-written files.

    Raises:
        UserError: a process or a SLURM job does not end.
    """
    # before the processes: a job on this host must not be told twice; after them: what Snakemake
    # submitted meanwhile
    if on_slurm:
        _end_slurm_jobs(slurm_prefix(results_dir))
    _end_processes(results_dir, patience_seconds)
    if on_slurm:
        _end_slurm_jobs(slurm_prefix(results_dir))
    for path in results_dir.rglob(".*.partial"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def processes(results_dir: Path) -> list[psutil.Process]:
    """Return this user's processes of a results folder, without this one and its parents."""
    this = psutil.Process()
    kin = {this.pid, *(parent.pid for parent in this.parents())}
    wanted = mark(results_dir)[MARK]
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in kin and _variable(process, MARK) == wanted
    ]


def _variable(process: psutil.Process, name: str) -> str | None:
    try:
        return process.environ().get(name)
    except (psutil.Error, OSError):  # another user's, or gone by now
        return None


def _end_processes(results_dir: Path, patience_seconds: float) -> None:
    """Tell all of them to stop as Ctrl-C would; kill those that have not after some time.

    Not SIGTERM: Snakemake's handler of it waits for a lock that its own thread may hold.
    """
    kill_at = time.monotonic() + patience_seconds
    told: set[int] = set()
    while found := processes(results_dir):
        late = time.monotonic() - kill_at
        if late > PATIENCE_SECONDS:
            numbers = ", ".join(str(process.pid) for process in found)
            raise UserError(f"processes of an earlier run do not end: {numbers}: end them first")
        for process in found:
            try:
                if late >= 0:
                    process.kill()
                elif process.pid not in told:
                    process.send_signal(signal.SIGINT)
            except psutil.NoSuchProcess:
                continue
        told.update(process.pid for process in found)
        psutil.wait_procs(found, timeout=POLL_SECONDS)


def _end_slurm_jobs(prefix: str) -> None:
    give_up_at = time.monotonic() + SLURM_PATIENCE_SECONDS
    told: set[str] = set()
    while numbers := _slurm_jobs(prefix):
        if time.monotonic() > give_up_at:
            raise UserError(
                f"SLURM jobs of an earlier run do not end: {', '.join(sorted(numbers))}: wait for"
                " them or ask the cluster's administrators"
            )
        if numbers - told:
            _ask_slurm("scancel", *sorted(numbers - told))
            told |= numbers
        time.sleep(POLL_SECONDS)


def _slurm_jobs(prefix: str) -> set[str]:
    lines = _ask_slurm("squeue", "--me", "--noheader", "--format=%A %j").splitlines()
    jobs = (line.split(maxsplit=1) for line in lines)
    return {number for number, name in jobs if name.startswith(prefix)}


def _ask_slurm(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        raise UserError(
            f"{command[0]}: not found: this profile needs a machine of a SLURM cluster"
        ) from error
    if done.returncode:
        raise UserError(f"{command[0]}: {' '.join(done.stderr.split())}")
    return done.stdout
