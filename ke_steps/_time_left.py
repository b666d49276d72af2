"""How long a run will still take, from how long its jobs took."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from ke_steps._progress import Job, Progress


class TimeLeft(NamedTuple):
    """Seconds that are left, and how many jobs are left beside of which nothing is known."""

    seconds: float
    num_unknown: int


def time_left(progress: Progress, now: float) -> TimeLeft:
    """Return the work that is left over the jobs that run at once.

    A job takes as long as those of its rule did in this run; where none is done, as long as the
    running ones say they will; where they say nothing, as long as earlier runs' jobs of its step.
    """
    bars = {job.number: job.bar() for job in progress.running.values()}
    said = {number: bar.seconds_left for number, bar in bars.items() if bar is not None}
    means = _mean_seconds(progress, said, now)
    waiting = progress.num_waiting()
    num_unknown = sum(number for rule, number in waiting.items() if rule not in means)
    remaining = []
    for job in progress.running.values():
        known = [said.get(job.number)]
        if job.rule in means:
            known.append(max(0.0, means[job.rule] - (now - job.began)))
        lefts = [seconds for seconds in known if seconds is not None]
        num_unknown += not lefts
        remaining.append(max(lefts, default=0.0))
    work = sum(remaining) + sum(n * means.get(rule, 0.0) for rule, n in waiting.items())
    num_at_once = max(len(progress.running), progress.num_at_once)
    return TimeLeft(max([work / num_at_once, *remaining]), num_unknown)


def _mean_seconds(
    progress: Progress, said: dict[int, float | None], now: float
) -> dict[str, float]:
    done: dict[str, list[float]] = {}
    for finished in progress.finished.values():
        done.setdefault(finished.job.rule, []).append(finished.seconds)
    foreseen: dict[str, list[float]] = {}
    for job in progress.running.values():
        left = said.get(job.number)
        if left is not None:
            foreseen.setdefault(job.rule, []).append(_so_far(job, now) + left)
    earlier = {
        rule: seconds
        for rule in progress.planned
        if (seconds := _earlier(progress, rule)) is not None
    }
    measured = {rule: statistics.fmean(times) for rule, times in (foreseen | done).items()}
    return earlier | measured


def _so_far(job: Job, now: float) -> float:
    return now - job.began


def _earlier(progress: Progress, rule: str) -> float | None:
    """Return the time of a step's earlier jobs: two rules of one step begin with its name."""
    steps = [step for step in progress.earlier_seconds if rule.startswith(step)]
    return progress.earlier_seconds[max(steps, key=len)] if steps else None
