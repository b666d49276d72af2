"""Run a study from wherever the last run ended; what ``make report`` calls.

::

    python -m ke_steps.running.run_study config/smoke.yaml -- snakemake --cores 2 --configfile …

One run at a time works on a results folder. What a killed one left behind is ended and removed
first, so that running the same command again is always enough. Ctrl-C, SIGTERM and a closed
terminal stop Snakemake and its jobs, training jobs after they saved their state; a second Ctrl-C
stops them at once.

Nurseries that go on from kept states (``study.going_on``) are trained by a Snakemake of their own
first. When that fails or is stopped, so is the run.

Snakemake's own lock is switched off: it outlives a killed run, and one study's end removes that of
every other study of the project folder. It would keep apart what this lock keeps apart, since a
study writes nowhere but into its results folder.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import FrameType
from typing import Any

import yaml

from ke_steps.job.errors import UserError
from ke_steps.job.files import read_object
from ke_steps.running.leftovers import (
    MORE_FOLLOWS,
    PATIENCE_SECONDS,
    clear,
    mark,
    slurm_prefix,
)
from ke_steps.running.lock import only_run
from ke_steps.running.spent_models import remove_answers, remove_spent
from ke_steps.settings.study import Study
from ke_steps.study.going_on import going_on, in_words, training_table
from ke_steps.study.reading import read_study_file

GPU = Path("/dev/nvidia0")
"""Where there is one of NVIDIA's."""

SECONDS_BETWEEN_REMOVALS = 30.0
"""Between two looks for models that nobody reads any more."""

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop(BaseException):
    """A signal to stop came."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a study and leave with Snakemake's status; refusals are their lines and status 1."""
    parser = argparse.ArgumentParser(
        prog="python -m ke_steps.running.run_study", description=main.__doc__
    )
    parser.add_argument("study", type=Path, help="a config file")
    parser.add_argument("command", nargs="+", help="after --: Snakemake's command for this study")
    options = parser.parse_args(arguments)
    try:
        sys.exit(run(options.study, options.command))
    except UserError as error:
        sys.exit(str(error))


def run(study_file: Path, command: Sequence[str]) -> int:
    """Run a study; return 0 when its report is there, else Snakemake's status or 128 + signal.

    Raises:
        UserError: the study is wrong, its results folder cannot be used or another run has it.
    """
    study = read_study_file(study_file)
    results_dir = Path(study.results_dir)
    options = options_of(command)
    on_slurm = options.get("executor") == "slurm"
    tell_idle_gpus(options)
    try:
        with only_run(results_dir), _stopping():
            clear(results_dir, on_slurm=on_slurm)
            whole = [*command, *_additions(results_dir, on_slurm)]
            status = _train_first(study, whole, on_slurm) or _follow(study, whole, on_slurm)
            if status == 0:
                remove_spent(study, None)
                remove_answers(results_dir)
    except _Stop as stop:
        return stop.status
    if status == 0:
        _tell(results_dir.resolve())
    return status


def _tell(results_dir: Path) -> None:
    """Print the key table and the verdicts, where the command made them, and where all is."""
    summary = results_dir / "summary.json"
    if summary.exists():
        print("", *read_object(summary)["terminal"], "", sep="\n")
    print(f"Report: {results_dir / 'report.html'}")


def _train_first(study: Study, command: Sequence[str], on_slurm: bool) -> int:
    """Train the nurseries that go on from kept states; return Snakemake's status, 0 for none."""
    models = going_on(study)
    if not models:
        return 0
    print(in_words(models), file=sys.stderr)
    tables = [training_table(study, model) for model in models]
    return _follow(study, [*command, "--", *tables], on_slurm, more_follows=True)


def options_of(command: Sequence[str]) -> dict[str, Any]:
    """Return the options of Snakemake's profile, with the executor that its command names."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--executor", "-e")
    parser.add_argument("--workflow-profile", type=Path)
    said, _ = parser.parse_known_args(command)
    file = said.workflow_profile and said.workflow_profile / "config.yaml"
    profile = yaml.safe_load(file.read_text()) if file else {}
    return profile | ({"executor": said.executor} if said.executor else {})


def tell_idle_gpus(options: Mapping[str, Any]) -> None:
    """Say so where a profile keeps jobs off the GPUs that this machine has."""
    if "gpu=0" in options.get("resources", []) and GPU.exists():
        print("Jobs compute on the CPU; PROFILE=gpu has them use GPUs", file=sys.stderr)


def _additions(results_dir: Path, on_slurm: bool) -> list[str]:
    named = ["--slurm-jobname-prefix", slurm_prefix(results_dir)] if on_slurm else []
    return ["--nolock", *named]


@contextmanager
def _stopping() -> Iterator[None]:
    """Raise ``_Stop`` at signals, save those that were ignored from the start, as by nohup."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stop(number)

    heard = [each for each in STOPS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, stop) for each in heard}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _follow(
    study: Study, command: Sequence[str], on_slurm: bool, *, more_follows: bool = False
) -> int:
    """Run Snakemake to its end, in a process group of its own, so that signals come here only."""
    results_dir = Path(study.results_dir)
    since = _now_on_disk_of(results_dir)
    environment = os.environ | mark(results_dir)
    if more_follows:
        environment[MORE_FOLLOWS] = "yes"
    patience_seconds = PATIENCE_SECONDS
    try:
        child = subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            process_group=0,
            preexec_fn=_hear_ctrl_c,  # noqa: PLW1509
        )
        while (status := _wait(child)) is None:
            remove_spent(study, since)
        return status if status >= 0 else 128 - status
    except _Stop as stop:
        try:
            print(
                "Stopping: jobs save their state; Ctrl-C again ends them at once", file=sys.stderr
            )
            clear(results_dir, on_slurm=on_slurm)
        except _Stop:
            patience_seconds = 0
        return stop.status
    finally:
        clear(results_dir, on_slurm=on_slurm, patience_seconds=patience_seconds)


def _wait(child: subprocess.Popen[bytes]) -> int | None:
    """Return a process's status; None if it has not ended after some time."""
    try:
        return child.wait(SECONDS_BETWEEN_REMOVALS)
    except subprocess.TimeoutExpired:
        return None


def _now_on_disk_of(folder: Path) -> float:
    """Return the time by the clock that the files of a folder have, which may be another host's."""
    with NamedTemporaryFile(dir=folder, prefix=".", suffix=".partial") as file:
        return Path(file.name).stat().st_mtime


def _hear_ctrl_c() -> None:
    """Undo what a shell does to commands in the background: they ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
