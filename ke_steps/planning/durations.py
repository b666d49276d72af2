"""How long jobs take, and how long a run still takes, from those that were measured.

A job with arithmetic takes a start-up time, in which Python and torch are loaded, and its
floating-point operations over a speed. A job without takes what is stated here for its rule. Both
are corrected by what was measured: first by jobs of the same rule, then by jobs of the same kind.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from ke_steps.planning.planned_jobs import PlannedJob

START_UP_SECONDS = 6.0
CORE_FLOPS = 3e10
"""Of a job with arithmetic, and what one core computes in a second, in fp32. These and the seconds
below are those of the embedded study on two cores of a server."""

SECONDS = {
    "fetch_checkpoint": 30.0,
    "train_tokenizer": 0.7,
    "prepare_corpus": 3.0,
    "prepare_knowledge": 0.7,
    "encode_probes": 0.7,
    "schedule_injections": 0.7,
    "keep_checkpoint": 0.5,
    "intervene": 0.8,
    "merge_shards": 2.0,
    "aggregate_entropy": 0.9,
    "evaluate_knowledge": 0.9,
    "fit_decay": 1.5,
    "aggregate_updates": 1.6,
    "summarize": 5.0,
    "plot_figures": 20.0,
    "write_report": 2.5,
}
"""What a job of each rule without arithmetic takes where none was measured."""

ONE_AFTER_ANOTHER = (
    "pretrain_nursery",
    "branch_checkpoint",
    "summarize",
    "plot_figures",
    "write_report",
)
"""Rules for whose jobs most others wait, or which wait for all others."""

Kind = Literal["training", "forward"]


class Measured(NamedTuple):
    """A job that was done, and the seconds that it took."""

    job: PlannedJob
    seconds: float


class Mean(NamedTuple):
    """The mean over the measured jobs of a rule."""

    flops: float
    seconds: float


@dataclass(frozen=True)
class Pace:
    """How fast jobs were.

    Attributes:
        by_rule: of the rules that were measured.
        ratio: of what jobs without arithmetic took to what is stated for them.
        start_up: seconds before a job with arithmetic computes.
        speeds: operations per second; empty where no job with arithmetic was measured.
    """

    by_rule: Mapping[str, Mean]
    ratio: float
    start_up: float
    speeds: Mapping[Kind, float]

    def seconds(self, job: PlannedJob) -> float | None:
        """Return what a job takes; None where nothing tells."""
        mean, flops = self.by_rule.get(job.rule), flops_of(job)
        if mean is not None:
            foreseen, usual = self._computing(job, flops), self._computing(job, mean.flops)
            return mean.seconds * (foreseen / usual if foreseen and usual else 1.0)
        if job.flops:
            return self._computing(job, flops)
        return SECONDS[job.rule] * self.ratio if job.rule in SECONDS else None

    def _computing(self, job: PlannedJob, flops: float) -> float | None:
        """Return the seconds of some operations; None at no speed, or of a size not known."""
        kind = kind_of(job)
        if not flops or kind is None or not self.speeds:
            return None
        speed = self.speeds.get(kind) or next(iter(self.speeds.values()))
        return self.start_up + flops / speed


def kind_of(job: PlannedJob) -> Kind | None:
    """Return whether a job trains or runs a model; None if neither."""
    kinds = {work.kind for work in job.flops}
    return None if not kinds else "training" if "training" in kinds else "forward"


def flops_of(job: PlannedJob) -> float:
    """Return all operations of a job."""
    return sum(job.flops.values())


def pace_of(measured: Iterable[Measured]) -> Pace:
    """Return how fast some jobs were.

    A start is as much slower than stated as jobs are that do little else, but no longer than any
    job that was measured with it.
    """
    by_rule: dict[str, list[Measured]] = {}
    for each in measured:
        by_rule.setdefault(each.job.rule, []).append(each)
    means = {
        rule: Mean(
            statistics.fmean(flops_of(each.job) for each in found),
            statistics.fmean(each.seconds for each in found),
        )
        for rule, found in by_rule.items()
    }
    ratios = [mean.seconds / SECONDS[rule] for rule, mean in means.items() if rule in SECONDS]
    ratio = statistics.median(ratios) if ratios else 1.0
    whole = [each.seconds for found in by_rule.values() for each in found if each.job.flops]
    start_up = min([START_UP_SECONDS * ratio, *whole])
    return Pace(means, ratio, start_up, _speeds(by_rule, start_up))


def _speeds(by_rule: Mapping[str, Sequence[Measured]], start_up: float) -> dict[Kind, float]:
    """Return the speed of each kind: all operations over all seconds beyond the start-up."""
    flops: dict[Kind, float] = {}
    seconds: dict[Kind, float] = {}
    for found in by_rule.values():
        for job, took in found:
            if (kind := kind_of(job)) is None or not flops_of(job):
                continue
            flops[kind] = flops.get(kind, 0.0) + flops_of(job)
            seconds[kind] = seconds.get(kind, 0.0) + max(took - start_up, took / 10)
    return {kind: flops[kind] / seconds[kind] for kind in flops if seconds[kind]}


def on_this_cpu(measured: Iterable[Measured], num_cores: int) -> Pace:
    """Return how fast jobs are on a CPU: as measured, else as stated here for so many cores."""
    pace = pace_of(measured)
    stated: dict[Kind, float] = {"training": CORE_FLOPS * num_cores}
    return replace(pace, speeds=pace.speeds or stated)


class Running(NamedTuple):
    """A job that runs.

    Attributes:
        seconds: for how long already.
        seconds_left: what it says of itself; None where it says nothing.
    """

    job: PlannedJob
    seconds: float
    seconds_left: float | None


class Waiting(NamedTuple):
    """Jobs of a rule that have not begun: what one of them is like, and how many they are."""

    job: PlannedJob
    number: int


class Machine(NamedTuple):
    """What jobs share: cores, and GPUs if any, one for each job with arithmetic."""

    num_cores: int
    num_gpus: int = 0


class TimeLeft(NamedTuple):
    """Seconds that are left, and how many jobs are left beside of which nothing is known."""

    seconds: float
    num_unknown: int


def time_left(
    pace: Pace, running: Iterable[Running], waiting: Iterable[Waiting], machine: Machine
) -> TimeLeft:
    """Return how long a run still takes.

    Rules that others wait for come one after another. In between, all jobs share the machine, and
    take at least as long as one job of each rule, one after another.
    """
    loads = [
        *(_Load(each.job, _seconds_left(pace, each), 1) for each in running),
        *(_Load(job, pace.seconds(job), number) for job, number in waiting if number),
    ]
    stages: dict[str, list[_Load]] = {}
    for load in loads:
        rule = load.job.rule
        stages.setdefault(rule if rule in ONE_AFTER_ANOTHER else "", []).append(load)
    return TimeLeft(
        sum(_stage_seconds(stage, machine) for stage in stages.values()),
        sum(load.number for load in loads if load.seconds is None),
    )


class _Load(NamedTuple):
    """Equal jobs, and the seconds of one."""

    job: PlannedJob
    seconds: float | None
    number: int


def _seconds_left(pace: Pace, running: Running) -> float | None:
    """Return what a running job still takes: the longer of what it says and what is usual."""
    usual = pace.seconds(running.job)
    from_usual = None if usual is None else max(0.0, usual - running.seconds)
    return max((s for s in (running.seconds_left, from_usual) if s is not None), default=None)


def _stage_seconds(stage: Sequence[_Load], machine: Machine) -> float:
    on_cores = on_gpus = 0.0
    longest: dict[str, float] = {}
    for job, seconds, number in stage:
        work = (seconds or 0.0) * number
        on_cores += work * min(job.num_cores, machine.num_cores) / machine.num_cores
        if job.flops and machine.num_gpus:
            on_gpus += work / machine.num_gpus
        longest[job.rule] = max(longest.get(job.rule, 0.0), seconds or 0.0)
    return max(on_cores, on_gpus, sum(longest.values()))
