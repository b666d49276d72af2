"""Snakemake's logger for dry runs: what a run would do as data, for ``make why`` and ``make plan``.

Switched on by ``--dry-run --logger jobs`` with this folder's parent on PYTHONPATH. What a logger
plugin is told of a job is the one public place where Snakemake hands out its jobs in fields: its
API starts a dry run, but keeps the jobs to itself. A reason is a sentence there too. With
``--quiet rules progress`` Snakemake ends after the number of jobs by rule, in half the time.
"""

from __future__ import annotations

import json
import logging

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

FIELDS = ("rule_name", "wildcards", "output", "reason")


class LogHandler(LogHandlerBase):
    """Prints a line of JSON after all that Snakemake says, unless it says an error.

    ``number`` is that of the jobs by rule, ``jobs`` what they are.
    """

    def __post_init__(self) -> None:
        """Begin without jobs."""
        self._number: dict[str, int] = {}
        self._jobs: list[dict[str, object]] = []
        self._is_over = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a job; an error ends the dry run."""
        told = vars(record)
        if told.get("event") == LogEvent.JOB_INFO:
            self._jobs.append({name: told[name] for name in FIELDS})
        elif told.get("event") == LogEvent.RUN_INFO:
            self._number = told["stats"]
        self._is_over |= record.levelno >= logging.ERROR

    def close(self) -> None:
        """Print the jobs, once."""
        if not self._is_over:
            self._is_over = True
            print(json.dumps({"number": self._number, "jobs": self._jobs}), flush=True)
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """Leave Snakemake's own lines on the terminal."""
        return False

    @property
    def writes_to_file(self) -> bool:
        """Write no file."""
        return False

    @property
    def has_filter(self) -> bool:
        """See jobs even where the terminal is quiet about them."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Need no words of a record."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Need no graph of rules."""
        return False
