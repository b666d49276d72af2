"""Which run a report is of, what code it ran, and how both the product and the paper are cited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from ke_steps.job.identity import identity
from ke_steps.job.records import Record

NOT_RECORDED = "not recorded"
"""Of jobs that ran before their records told it."""


def identity_of(records: Sequence[Record], citation: Path) -> dict[str, Any]:
    """Return what the template says of a report's identity.

    Args:
        records: of the jobs that led to the report, in the order of their start.
        citation: CITATION.cff, with the paper as its one reference.

    Returns:
        ``first`` and ``last``, when the first and the last job ended (UTC; empty without jobs);
        ``versions``, ``commits`` and ``pythons``, each that a job ran with, in the order of their
        last use, so that the running job's comes last; ``product`` and ``paper``, to be cited.
    """
    jobs = [*records, identity()]
    ends = [record["started_unix_seconds"] + record["wall_seconds"] for record in records]
    cited = yaml.safe_load(citation.read_text())
    return {
        "first": _time(min(ends)) if ends else "",
        "last": _time(max(ends)) if ends else "",
        "versions": _in_order_of_use(jobs, "version"),
        "commits": _in_order_of_use(jobs, "commit"),
        "pythons": _in_order_of_use(jobs, "python"),
        "product": cite(cited),
        "paper": cite(cited["references"][0]),
    }


def cite(work: Mapping[str, Any]) -> str:
    """Return a reference to a work of a CITATION.cff: authors, title, where and when."""
    authors = ", ".join(
        author.get("name") or f"{author['given-names']} {author['family-names']}"
        for author in work["authors"]
    )
    parts = [
        f"{authors}: {work['title']}",
        f"Version {work['version']}" if "version" in work else "",
        f"{work['conference']['name']}, {work['year']}" if "conference" in work else "",
        *(each["value"] for each in work.get("identifiers", ())),
    ]
    return ". ".join(filter(None, parts)) + "."


def _in_order_of_use(jobs: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    """Return the different values of a field, by the last job that has them."""
    return list(dict.fromkeys(job.get(key, NOT_RECORDED) for job in reversed(jobs)))[::-1]


def _time(unix_seconds: float) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M} UTC"
