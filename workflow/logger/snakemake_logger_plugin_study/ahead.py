"""What of a study's plan has not begun, summed up so that asking costs the same at any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ke_steps.planning.planned_jobs import PlannedJob, Work


class Ahead:
    """The jobs of a plan that have not begun, summed up by rule."""

    def __init__(self, jobs: Mapping[tuple[str, str], PlannedJob]) -> None:
        """Begin with all jobs of the plan."""
        self.jobs = jobs
        self._left = dict(jobs)
        self._num_begun = 0
        self._number: Counter[str] = Counter()
        self._flops: dict[str, Counter[Work]] = {}
        self._one: dict[str, PlannedJob] = {}
        for job in jobs.values():
            self._number[job.rule] += 1
            self._flops.setdefault(job.rule, Counter()).update(job.flops)
            self._one.setdefault(job.rule, job)

    def leave_out(self, begun: Sequence[tuple[str, str]]) -> None:
        """Take away those that have begun since the last call."""
        for key in begun[self._num_begun :]:
            job = self._left.pop(key, None)
            if job is not None:
                self._number[job.rule] -= 1
                self._flops[job.rule].subtract(job.flops)
        self._num_begun = len(begun)

    def mean(self, rule: str) -> PlannedJob:
        """Return a job like these on average: which of them a run leaves out is not known."""
        number = self._number[rule]
        if not number:
            return PlannedJob(rule)
        flops = {work: n / number for work, n in self._flops[rule].items()}
        return replace(self._one[rule], flops=flops)
