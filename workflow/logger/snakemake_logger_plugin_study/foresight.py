"""What a run still has to do, as jobs of its study's plan, and how long that takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ke_steps.planning.durations import (
    Machine,
    Measured,
    Running,
    TimeLeft,
    Waiting,
    pace_of,
)
from ke_steps.planning.durations import time_left as seconds_left
from ke_steps.planning.measured import measured_before
from ke_steps.planning.planned_jobs import PlannedJob
from snakemake_logger_plugin_study.ahead import Ahead
from snakemake_logger_plugin_study.progress import Progress


def look_ahead(progress: Progress) -> None:
    """Read what a run's study has to do, and what jobs of earlier runs took.

    Raises:
        UserError: the study that lies in the results folder is wrong.
    """
    if progress.results is None:
        return
    planned = _jobs_of(progress.results)
    progress.jobs = {(job.rule, job.place): job for job in planned}
    progress.earlier = measured_before(progress.results, planned)


def _jobs_of(results: Path) -> list[PlannedJob]:
    """Return the jobs of the study that lies in a results folder; none where none does."""
    # not above: each dry run loads this plugin, and has no use for these
    from ke_steps.planning.costs import jobs
    from ke_steps.planning.model_sizes import UNKNOWN, find_size
    from ke_steps.study.own_results import MARK
    from ke_steps.study.reading import read_study_file

    mark = results / MARK
    if not mark.is_file():
        return []
    study = read_study_file(mark, need_files=False)
    sizes = {name: find_size(study, name) or UNKNOWN for name in study.models}
    return list(jobs(study, sizes))


def time_left(progress: Progress, now: float) -> TimeLeft:
    """Return how long a run still takes.

    A rule is as fast as its jobs were in this run; where none is done, as running ones foresee by
    their bars; else as those of earlier runs were.
    """
    running = [
        Running(progress.planned_job(job), now - job.began, bar.seconds_left if bar else None)
        for job in progress.running.values()
        for bar in [job.bar()]
    ]
    done = [
        Measured(progress.planned_job(job), took)
        for jobs in progress.measured.values()
        for job, took in jobs
    ]
    foreseen = [Measured(job, took + left) for job, took, left in running if left is not None]
    measured: list[Measured] = []
    for source in (done, foreseen, progress.earlier):
        known = {each.job.rule for each in measured}
        measured += [each for each in source if each.job.rule not in known]
    return seconds_left(pace_of(measured), running, _waiting(progress), _machine(progress))


def _machine(progress: Progress) -> Machine:
    """Return what Snakemake was given; on a cluster, what the jobs have that run at once."""
    if progress.num_cores is not None:
        return Machine(progress.num_cores, progress.num_gpus)
    jobs = [progress.planned_job(job) for job in progress.running.values()]
    num_at_once = max(len(jobs), progress.num_at_once)
    return Machine(num_at_once * max((job.num_cores for job in jobs), default=1))


def _waiting(progress: Progress) -> Iterator[Waiting]:
    if progress.ahead is None or progress.ahead.jobs is not progress.jobs:
        progress.ahead = Ahead(progress.jobs)
    progress.ahead.leave_out(progress.begun)
    for rule, number in progress.num_waiting().items():
        yield Waiting(progress.ahead.mean(rule), number)
