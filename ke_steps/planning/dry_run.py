"""Asking Snakemake what a run would do: its dry run, and what its logger ``jobs`` tells of one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from subprocess import PIPE, STDOUT, Popen
from typing import Any

from ke_steps.job.errors import UserError
from ke_steps.study.trained_models import TRAINED_MODEL

JOBS = ("--dry-run", "--logger", "jobs")
"""Each job that a run would do."""
NUMBERS = (*JOBS, "--quiet", "rules", "progress")
"""Their number by rule, in two thirds of the time: Snakemake ends before it goes through them."""
RULES = ("--list-rules",)
"""None of these, in seconds: only whether Snakemake takes the study with this profile."""

TARGET, TOTAL = "all", "total"
"""The target rule, which does nothing, and Snakemake's sum: no rules to be told of."""

TRAINING, EVALUATION = "inject_knowledge", "evaluate_retention_after_learning"
"""The rules that make and read trained models."""


def ask(command: Sequence[str], options: Sequence[str]) -> Popen[str]:
    """Start Snakemake with a question, and go on while it looks for the answer.

    Args:
        command: Snakemake's for a study, as ``make report`` has it.
        options: ``JOBS``, ``NUMBERS`` or ``RULES``.
    """
    return Popen([*command, *options], stdout=PIPE, stderr=STDOUT, text=True)  # noqa: S603


def answer(asked: Popen[str]) -> str:
    """Wait for what Snakemake says.

    Raises:
        UserError: it refuses the study or its profile; the words are Snakemake's.
    """
    output, _ = asked.communicate()
    if asked.returncode:
        raise _refusal(output)
    return output


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


def models_read_only(results_dir: str, jobs: Iterable[dict[str, Any]]) -> list[str]:
    """Return the manifests of the trained models that jobs read and none of them trains."""
    made: set[str] = set()
    read: list[str] = []
    for job in jobs:
        if job["rule_name"] == TRAINING:
            made.update(job["output"])
        elif job["rule_name"] == EVALUATION:
            read.append(f"{results_dir}/{TRAINED_MODEL.format(**job['wildcards'])}")
    return [path for path in read if path not in made]


def _told(output: str, what: str, kind: type) -> Any:
    try:
        found = json.loads(output.splitlines()[-1])[what]
    except (LookupError, TypeError, ValueError):
        found = None
    if not isinstance(found, kind):
        raise _refusal(output)
    return found


def _refusal(output: str) -> UserError:
    return UserError(f"no dry run: {output.strip() or 'nothing was given'}")
