r"""Say of each job that a run of a study would do now why it would; what ``make why`` prints.

::

    PYTHONPATH=workflow/logger python -m ke_steps.planning.why config/smoke.yaml -- \\
        snakemake --configfile config/smoke.yaml

The logger tells a job's rule, wildcards and outputs as fields; its reason is a sentence of
Snakemake's there as well, in clauses that this module reads.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ke_steps.job.errors import UserError
from ke_steps.planning.dry_run import JOBS, answer, ask, jobs_told, models_read_only
from ke_steps.study.going_on import going_on, in_words
from ke_steps.study.reading import read_study_file
from ke_steps.study.trained_models import refuse_missing

NOT_THERE = "not there yet"
SETTINGS, CODE = "settings changed", "code changed"
AN_INPUT = "an input changed"
FOLLOWS = "follows another of these jobs"

REASONS = {
    "Missing output files": NOT_THERE,
    "Input files updated by another job": FOLLOWS,
    "Params have changed since last execution": SETTINGS,
    "Updated input files": AN_INPUT,
    "Set of input files has changed since last execution": "other inputs than before",
    "Code has changed since last execution": "its command changed",
    "Forced execution": "unfinished, or of unknown origin",
}
"""Snakemake's reason → ours; one that is not here is said in its words."""

WORDS = {"step": "step", "seed": "seed"}
"""Wildcards whose values are numbers, and so are said with their name."""

MAX_VALUE_CHARACTERS = 40
MANY = 50
"""So many jobs do not fit on a screen."""

MAX_NAMED = 3
"""Of several changed keys or files, so many are named."""


class Pending(NamedTuple):
    """A job that a run would do, and why.

    Attributes:
        rule: its rule.
        place: its wildcards in words, such as ``tiny step 8 boost baseline seed 1``.
        reason: in one of few words, to count by.
        detail: which keys, which files, which rules; may be empty.
    """

    rule: str
    place: str
    reason: str
    detail: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each job that a run of a study would do, and what it would refuse."""
    parser = argparse.ArgumentParser(
        prog="python -m ke_steps.planning.why", description=main.__doc__
    )
    parser.add_argument("study", type=Path, help="a config file")
    parser.add_argument("command", nargs="+", help="after --: Snakemake's command for this study")
    options = parser.parse_args(arguments)
    try:
        study = read_study_file(options.study)
        told = answer(ask(options.command, JOBS))
        print("\n".join(lines(read_dry_run(told))))
        if models := going_on(study):
            print(f"These at most. {in_words(models)}")
        refuse_missing(study, models_read_only(study.results_dir, jobs_told(told)))
    except UserError as error:
        sys.exit(str(error))


def lines(jobs: Sequence[Pending]) -> list[str]:
    """Return a line per job, those of a rule together, and how many there are.

    Many are counted by rule and reason as well.
    """
    if not jobs:
        return ["Nothing to be done: everything is there."]
    order = {rule: number for number, rule in enumerate(dict.fromkeys(job.rule for job in jobs))}
    in_order = sorted(jobs, key=lambda job: (order[job.rule], _by_number(job.place)))
    width_rule = max(len(job.rule) for job in jobs)
    width_place = max(len(job.place) for job in jobs)
    return [
        *(
            f"{job.rule:{width_rule}}  {job.place:{width_place}}  {because(job)}"
            for job in in_order
        ),
        *(_counts(in_order) if len(jobs) >= MANY else ()),
        f"{len(jobs)} jobs" if len(jobs) > 1 else "1 job",
    ]


def _counts(jobs: Sequence[Pending]) -> Iterator[str]:
    counts = Counter((job.rule, job.reason) for job in jobs)
    width = max(len(rule) for rule, _ in counts)
    yield ""
    for (rule, reason), number in counts.items():
        yield f"{number:6,}  {rule:{width}}  {reason}"


def because(job: Pending) -> str:
    """Return the reason of a job with its detail."""
    if job.reason.startswith("follows") and job.detail:
        return f"follows {job.detail}"
    return f"{job.reason}: {job.detail}" if job.detail else job.reason


def _by_number(place: str) -> list[tuple[int, str]]:
    """Return a sorting key by which step 8 comes before step 10."""
    return [(int(word), "") if word.isdigit() else (0, word) for word in place.split()]


def read_dry_run(output: str) -> list[Pending]:
    """Return the jobs that a run would do, by what a dry run said (``dry_run.jobs_told``)."""
    jobs = jobs_told(output)
    makers = {path: job["rule_name"] for job in jobs for path in job["output"]}
    return [
        Pending(job["rule_name"], _place(job["wildcards"]), *_reason(job["reason"], makers))
        for job in jobs
    ]


def _place(wildcards: Mapping[str, str]) -> str:
    return " ".join(
        f"{WORDS[name]} {value}" if name in WORDS else value for name, value in wildcards.items()
    )


def _reason(clauses: str, makers: Mapping[str, str]) -> tuple[str, str]:
    """Return the first reason and its detail: the others come of it, or would not be needed."""
    words, _, rest = clauses.partition(": ")
    words = words.split(";")[0].strip()
    reason = REASONS.get(words, words.lower())
    if reason == SETTINGS:
        return _changes(rest)
    files = rest.split("; ")[0].split(", ")
    if reason == AN_INPUT:
        return reason, _some(files)
    if reason == FOLLOWS:
        return reason, _some(sorted({makers.get(file, file) for file in files}))
    return reason, ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _changes(rest: str) -> tuple[str, str]:
    """Tell settings from code, both of which are parameters of a job, and name changed keys."""
    found = re.search(r"before: (.*) now: (.*?) *(?:; .*)?$", rest)
    before, now = (_values(text) for text in found.groups()) if found else ([], [])
    old, new = _settings(before), _settings(now)
    keys = _some([f"{key} {change}" for key, change in _differences(old, new)])
    has_code = any(re.fullmatch("[0-9a-f]{16}", str(value)) for value in now)
    has_settings = keys or not has_code
    reason = " and ".join([*([SETTINGS] if has_settings else []), *([CODE] if has_code else [])])
    return reason.replace("changed and", "and"), keys


def _values(text: str) -> list[Any]:
    """Return parameters that Snakemake wrote one after another, as Python would."""
    try:
        return list(ast.literal_eval(f"[{text}]"))
    except (SyntaxError, ValueError):  # <nothing exclusive>
        return []


def _settings(values: list[Any]) -> dict[str, Any]:
    for value in values:
        if isinstance(value, str) and value.startswith("{"):
            return dict(json.loads(value))
    return {}


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield changed keys, dotted, and how they changed."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
    elif old != new:
        yield key, f"{_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if value is not None else "none"
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 1] + "…"


if __name__ == "__main__":
    main()
