"""How far a run of the workflow is: its jobs, planned, running, finished and failed.

Told by events, in whatever way they come: ``plan``, ``start``, ``finish``, ``fail``, ``error``,
``end``. Jobs are known by Snakemake's number. Times are Unix seconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from ke_steps.job.records import LOG, RECORD, files_in, place_of, results_of
from ke_steps.planning.durations import Measured
from ke_steps.planning.planned_jobs import PlannedJob
from snakemake_logger_plugin_study.ahead import Ahead
from snakemake_logger_plugin_study.job_logs import Bar, Mark, last_lines, mark, read_bar

NOT_A_JOB = "all"
"""The target rule: it runs nothing."""

TAIL_LINES = 20

MAX_MEASURED = 50
"""Jobs of a rule, the last, that tell how long the next take: what a line costs must not grow."""

State = Literal["running", "finished", "failed", "stopped"]


class StartedJob(NamedTuple):
    """A job that was started."""

    number: int
    rule: str
    place: str
    name: str
    log: Path | None
    began: float
    old_log: Mark | None

    def is_silent(self) -> bool:
        """Tell whether its log has not been opened yet: it waits for a machine, or is starting.

        An empty log is an open one: the job may have emptied it before this one heard of it.
        """
        if self.log is None:
            return False
        found = mark(self.log)
        return found is None or (found == self.old_log and found.num_bytes > 0)

    def is_recorded(self) -> bool:
        """Tell whether its step has come to its end, where it writes its record."""
        found = None if self.log is None else mark(files_in(self.log.parent).record)
        return found is not None and found.num_bytes > 0  # Snakemake makes empty ones itself

    def bar(self) -> Bar | None:
        """Return its own progress; None where it says none."""
        if self.log is None or self.is_silent():
            return None
        return read_bar(self.log)


class Finished(NamedTuple):
    """A job that is done, and how long it took from its submission on."""

    job: StartedJob
    seconds: float


class Failure(NamedTuple):
    """A job that failed.

    Attributes:
        message: its last words, or those of whoever ran it.
        lines: the end of the log that they are from.
        reason: what whoever ran it says beside them, such as a cluster; may be empty.
    """

    job: StartedJob
    message: str
    lines: list[str]
    log: Path | None
    reason: str


@dataclass
class Progress:
    """What is known of a run."""

    began: float
    planned: Counter[str] = field(default_factory=Counter)
    running: dict[int, StartedJob] = field(default_factory=dict)
    finished: dict[int, Finished] = field(default_factory=dict)
    failed: dict[int, Failure] = field(default_factory=dict)
    num_finished: Counter[str] = field(default_factory=Counter)
    """Finished jobs by rule."""
    measured: dict[str, deque[Finished]] = field(default_factory=dict)
    """The last of them."""
    begun: list[tuple[str, str]] = field(default_factory=list)
    """Rule and place of each start, again where a job began again."""
    errors: list[str] = field(default_factory=list)
    state: State = "running"
    more_follows: bool = False
    """Whether these are nurseries that are trained before it is known what else there is to do."""
    results: Path | None = None
    num_cores: int | None = None
    """Of this machine, as far as Snakemake may use them; None on a cluster."""
    num_gpus: int = 0
    """Of those that jobs take turns on; 0 where nothing limits them."""
    num_at_once: int = 1
    """Jobs that ran when the last one began: between two jobs there are fewer."""
    jobs: Mapping[tuple[str, str], PlannedJob] = field(default_factory=dict)
    """All jobs of the study, by rule and place; those that are done already among them."""
    ahead: Ahead | None = None
    """Those that have not begun, as far as they have been summed up."""
    earlier: Sequence[Measured] = ()
    """Jobs of earlier runs."""

    def plan(self, num_jobs: Mapping[str, int]) -> None:
        """Take in how many jobs of every rule there are to do."""
        self.planned = Counter({k: n for k, n in num_jobs.items() if k not in (NOT_A_JOB, "total")})

    def start(
        self, number: int, rule: str, wildcards: Mapping[str, str], logs: Sequence[str], now: float
    ) -> None:
        """Note that a job begins, for the first time or again."""
        if rule == NOT_A_JOB:
            return
        paths = [Path(log) for log in logs]
        log = next((path for path in paths if path.name == LOG), None)
        if log is not None and self.results is None:
            self.results = results_of(log, rule)
        old = mark(log) if log else None
        place = place_of(log, self.results) if log and self.results else ""
        name = name_of(rule, wildcards)
        self.failed.pop(number, None)
        self.begun.append((rule, place))
        self.running[number] = StartedJob(number, rule, place, name, log, now, old)
        self.num_at_once = len(self.running)

    def finish(self, number: int, now: float) -> Finished | None:
        """Note that a job is done; None if it is none that was started."""
        job = self.running.pop(number, None)
        if job is None:
            return None
        done = self.finished[number] = Finished(job, now - job.began)
        self.num_finished[job.rule] += 1
        self.measured.setdefault(job.rule, deque(maxlen=MAX_MEASURED)).append(done)
        return done

    def fail(self, number: int, logs: Sequence[str], reason: str = "") -> Failure | None:
        """Note that a job has failed; None if it is none that was running.

        ``logs`` are its own and those of whoever ran it, which speak where its own is silent.
        """
        job = self.running.pop(number, None)
        if job is None:
            return None
        paths = [Path(log) for log in logs]
        texts = [path for path in paths if path.name != RECORD]
        speaking = [path for path in texts if path != job.log or not job.is_silent()]
        said = [(log, lines) for log in speaking if (lines := last_lines(log, TAIL_LINES))]
        log, lines = said[0] if said else (job.log, [])
        message = lines[-1].strip() if lines else reason or "it left no message in its log"
        self.failed[number] = Failure(job, message, lines, log, reason if lines else "")
        return self.failed[number]

    def fail_group(
        self, members: Mapping[int, Sequence[str]], logs: Sequence[str]
    ) -> list[Failure]:
        """Note that a group of jobs, which a cluster runs as one, has failed.

        What did not begin, or is done, is not what failed: it waits to be done again.

        Args:
            members: the logs of each job by its number.
            logs: those of whoever ran the group.
        """
        jobs = [self.running[number] for number in members if number in self.running]
        guilty = [job for job in jobs if not job.is_silent() and not job.is_recorded()]
        failures = [
            self.fail(job.number, [*members[job.number], *logs]) for job in guilty or jobs[:1]
        ]
        for job in jobs:
            self.running.pop(job.number, None)
        return [failure for failure in failures if failure is not None]

    def error(self, message: str) -> None:
        """Take in what Snakemake itself complains of."""
        self.errors.append(message.strip())

    def end(self) -> None:
        """Note that the run is over; how, follows from its jobs."""
        is_done = len(self.finished) >= self.num_planned()
        self.state = "failed" if self.failed else "finished" if is_done else "stopped"

    def num_planned(self) -> int:
        """Return how many jobs this run has to do, or had."""
        return self.planned.total()

    def num_running(self) -> Counter[str]:
        """Return by rule how many jobs run."""
        return Counter(job.rule for job in self.running.values())

    def num_failed(self) -> Counter[str]:
        """Return by rule how many jobs have failed."""
        return Counter(failure.job.rule for failure in self.failed.values())

    def num_waiting(self) -> Counter[str]:
        """Return by rule how many jobs have not begun."""
        return self.planned - (self.num_finished + self.num_running() + self.num_failed())

    def planned_job(self, job: StartedJob) -> PlannedJob:
        """Return what the plan says of a job; its name alone where there is no plan."""
        key = job.rule, job.place
        return self.jobs.get(key) or PlannedJob(*key)


def name_of(rule: str, wildcards: Mapping[str, str]) -> str:
    """Return a job's name: its rule and wildcards, numbers with what they count."""
    words = [
        f"{key} {int(value):,}" if value.isdecimal() else value for key, value in wildcards.items()
    ]
    return " ".join([rule, *words])
