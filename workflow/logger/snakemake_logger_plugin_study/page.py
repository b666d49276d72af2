"""A run's progress as a page that holds everything it shows and refreshes itself."""

from __future__ import annotations

import time
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2

from ke_steps.job.files import replacing
from snakemake_logger_plugin_study.progress import Progress
from snakemake_logger_plugin_study.words import (
    counted,
    duration,
    ending,
    left_words,
    own_progress,
)

REFRESH_SECONDS = 5
TEMPLATE = Path(__file__).with_name("status.html.j2")
NUM_RECENT = 10
TOLD_BY_JOBS = "At least one job did not complete successfully."
"""An error of Snakemake's that says nothing beside the jobs that failed."""


def render(progress: Progress, now: float) -> str:
    """Return the page, HTML; nothing in it but the template is taken for markup."""
    return _template().render(**facts(progress, now))


@cache
def _template() -> jinja2.Template:
    """Return the template; compiling it takes longer than all that is told with it."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text())


def facts(progress: Progress, now: float) -> dict[str, Any]:
    """Return what the template shows, in words."""
    is_running = progress.state == "running"
    report = progress.results / "report.html" if progress.results else None
    recent = islice(reversed(progress.finished.values()), NUM_RECENT)
    return {
        "state": progress.state,
        "refresh_seconds": REFRESH_SECONDS if is_running or progress.more_follows else None,
        "results": str(progress.results or ""),
        "written": time.strftime("%H:%M:%S on %-d %B %Y", time.localtime(now)),
        "counted": counted(progress),
        "left": left_words(progress, now) if is_running else ending(progress, now),
        "percent": 100 * len(progress.finished) / max(1, progress.num_planned()),
        "began": time.strftime("%H:%M:%S on %-d %B %Y", time.localtime(progress.began)),
        "running": [
            {
                "name": job.name,
                "words": own_progress(job, now),
                "percent": 100 * bar.fraction if (bar := job.bar()) else None,
            }
            for job in progress.running.values()
        ],
        "failed": [
            {
                "name": failure.job.name,
                "message": failure.message,
                "reason": failure.reason,
                "log": str(failure.log or ""),
            }
            for failure in progress.failed.values()
        ],
        "errors": [error for error in progress.errors if TOLD_BY_JOBS not in error],
        "rules": _by_rule(progress),
        "recent": [{"name": job.name, "took": duration(took)} for job, took in recent],
        "report": report.name if report and report.is_file() else "",
    }


def _by_rule(progress: Progress) -> list[dict[str, Any]]:
    running, failed = progress.num_running(), progress.num_failed()
    waiting = progress.num_waiting()
    return [
        {
            "rule": rule,
            "done": progress.num_finished[rule],
            "running": running[rule],
            "failed": failed[rule],
            "left": waiting[rule],
        }
        for rule in progress.planned
    ]


def write(path: Path, page: str) -> None:
    """Put the page in place whole: whoever reads it meanwhile sees the one before."""
    with replacing(path) as beside:
        beside.write_text(page)
