"""A run's progress in words: one line for the terminal and the log, and the same for a page.

How long it will still take is told in ``foresight``.
"""

from __future__ import annotations

import time

from snakemake_logger_plugin_study.foresight import time_left
from snakemake_logger_plugin_study.progress import Failure, Progress, StartedJob

MAX_NAMED_JOBS = 3


def duration(seconds: float) -> str:
    """Write a time in its two largest units: ``40 s``, ``1 min 20 s``, ``2 h 5 min``, ``3 d``."""
    whole = round(seconds)
    units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)]
    first = next((i for i, (_, size) in enumerate(units) if whole >= size), len(units) - 1)
    words: list[str] = []
    for name, size in units[first : first + 2]:
        count, whole = divmod(whole, size)
        if count or not words:
            words.append(f"{count} {name}")
    return " ".join(words)


def clock(seconds: float) -> str:
    """Write a time as a progress bar does: ``0:17``, ``2:05:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def left_words(progress: Progress, now: float) -> str:
    """Say how long the run will still take, or what of that is not known."""
    left = time_left(progress, now)
    if left.seconds < 1:  # nothing like it was ever done, or it takes longer than that did
        return "time left not known"
    if left.num_unknown:
        unknown = f"{_jobs(left.num_unknown)} of unknown length"
        return f"at least {duration(left.seconds)} left, and {unknown}"
    return f"about {duration(left.seconds)} left"


def own_progress(job: StartedJob, now: float) -> str:
    """Say how far a running job is by its own bar, or else how long it has been running."""
    if job.is_silent():
        return f"queued or starting for {duration(now - job.began)}"
    bar = job.bar()
    if bar is None:
        return f"for {duration(now - job.began)}"
    left = "" if bar.seconds_left is None else f", {clock(bar.seconds_left)} left"
    return f"{bar.name} {bar.fraction:.0%}{left}".replace("%", " %").strip()


def line(progress: Progress, now: float) -> str:
    """Return the run's progress as one line, with the time of day."""
    at = time.strftime("%H:%M:%S", time.localtime(now))
    is_done = len(progress.finished) >= progress.num_planned()
    left = "" if is_done else f", {left_words(progress, now)}"
    parts = [f"{at} {counted(progress)}{left}"]
    if progress.failed:
        parts.append(f"{len(progress.failed)} failed")
    jobs = list(progress.running.values())
    if jobs:
        named = [f"{job.name}: {own_progress(job, now)}" for job in jobs[:MAX_NAMED_JOBS]]
        more = len(jobs) - len(named)
        parts.append("running: " + "; ".join(named) + (f"; and {more} more" if more else ""))
    return " · ".join(parts)


def counted(progress: Progress) -> str:
    """Return how many jobs are done: ``23 of 67 jobs (34 %)``; said of nurseries that go first."""
    done, total = len(progress.finished), progress.num_planned()
    percent = 100 * done // total if total else 100
    first = "nurseries first: " if progress.more_follows else ""
    return f"{first}{done} of {_jobs(total)} ({percent} %)"


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"


def failure_words(failure: Failure) -> str:
    """Return what to show of a job that failed: its one line, its log, and the end of that."""
    words = f"failed: {failure.job.name}: {failure.message}"
    if failure.reason:
        words += f"\n    {failure.reason}"
    if failure.log is not None:
        words += f"\n    log: {failure.log}"
    if len(failure.lines) > 1:
        words += "".join(f"\n    | {text}" for text in failure.lines)
    return words


def ending(progress: Progress, now: float) -> str:
    """Return how the run ended, in one line."""
    took = duration(now - progress.began)
    match progress.state:
        case "finished" if progress.more_follows:
            return f"nurseries first: {_jobs(progress.num_planned())} in {took}, now what follows"
        case "finished":
            return f"finished: {_jobs(progress.num_planned())} in {took}"
        case "failed":
            return f"failed after {took}: {counted(progress)} done, {len(progress.failed)} failed"
        case _:
            return f"stopped after {took}: {counted(progress)} done"
