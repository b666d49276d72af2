"""What a run of a study would do now, read off the output of ``snakemake --dry-run``."""

from __future__ import annotations

import re
from typing import NamedTuple

from ke_steps._errors import UserError

NOT_THERE = "not there yet"

REASONS = {
    "Missing output files": NOT_THERE,
    "Input files updated by another job": "follows another of these jobs",
    "Params have changed since last execution": "settings or code changed",
    "Updated input files": "an input changed",
    "Set of input files has changed since last execution": "other inputs than before",
}
"""Snakemake's reason → ours; one that is not here is said in its words."""


class Pending(NamedTuple):
    """A job that a run would do, and why."""

    rule: str
    reason: str


def read_dry_run(output: str) -> list[Pending]:
    """Return the jobs that a run would do, the target rule ``all`` left out.

    Raises:
        UserError: the output is not that of a dry run, as when Snakemake refused the study.
    """
    if "Nothing to be done" in output:
        return []
    jobs = re.findall(r"^(?:local)?rule (\w+):\n((?: {4}.*\n)+)", output, re.MULTILINE)
    if not jobs:
        raise UserError(f"no dry run: {output.strip() or 'nothing was given'}")
    return [Pending(rule, _reason(details)) for rule, details in jobs if rule != "all"]


def _reason(details: str) -> str:
    """Return the first reason of a job: the others come of it, or would not be needed."""
    found = re.search(r"^ {4}reason: ([^:;\n]+)", details, re.MULTILINE)
    words = found[1].strip() if found else "not said"
    return REASONS.get(words, words.lower())
