"""Say of each job that a run of a study would do now why it would; what ``make why`` prints.

::

    snakemake --dry-run --quiet host --configfile config/smoke.yaml |
        python -m ke_steps.why config/smoke.yaml
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ke_steps._errors import UserError
from ke_steps._pending import Pending, read_dry_run
from ke_steps._study_file import read_study_file


def main(arguments: Sequence[str] | None = None) -> None:
    """Read a study's dry run from standard input and print a line per job."""
    parser = argparse.ArgumentParser(prog="python -m ke_steps.why", description=main.__doc__)
    parser.add_argument("study", type=Path, help="a config file")
    options = parser.parse_args(arguments)
    try:
        read_study_file(options.study)
        print("\n".join(lines(read_dry_run(sys.stdin.read()))))
    except UserError as error:
        sys.exit(str(error))


def lines(jobs: Sequence[Pending]) -> list[str]:
    """Return a line per job, those of a rule together, and how many there are."""
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
        f"{len(jobs)} jobs" if len(jobs) > 1 else "1 job",
    ]


def because(job: Pending) -> str:
    """Return the reason of a job with its detail."""
    if job.reason.startswith("follows") and job.detail:
        return f"follows {job.detail}"
    return f"{job.reason}: {job.detail}" if job.detail else job.reason


def _by_number(place: str) -> list[tuple[int, str]]:
    """Return a sorting key by which step 8 comes before step 10."""
    return [(int(word), "") if word.isdigit() else (0, word) for word in place.split()]


if __name__ == "__main__":
    main()
