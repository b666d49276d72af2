"""What Snakemake's logger ``jobs`` tells of a dry run."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from ke_steps.job.errors import UserError

TARGET, TOTAL = "all", "total"
"""The target rule, which does nothing, and Snakemake's sum: no rules to be told of."""


def jobs_told(output: str) -> list[dict[str, Any]]:
    """Return the jobs of a dry run, each with ``rule_name``, ``wildcards``, ``output``, ``reason``.

    Args:
        output: all that a dry run with the logger ``jobs`` said; its last line is what that told.

    Raises:
        UserError: the output does not end with jobs, as when Snakemake refused the study.
    """
    return [job for job in _told(output, "jobs", list) if job["rule_name"] != TARGET]


def num_jobs_told(output: str) -> Counter[str]:
    """Return how many jobs of each rule a run would do, likewise."""
    number = _told(output, "number", dict)
    return Counter({rule: n for rule, n in number.items() if rule not in (TARGET, TOTAL)})


def _told(output: str, what: str, kind: type) -> Any:
    try:
        found = json.loads(output.splitlines()[-1])[what]
    except (LookupError, TypeError, ValueError):
        found = None
    if not isinstance(found, kind):
        raise UserError(f"no dry run: {output.strip() or 'nothing was given'}")
    return found
