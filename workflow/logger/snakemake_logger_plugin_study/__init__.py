"""Snakemake's logger for studies: progress in lines, with the time that is left, and as a page.

Switched on by ``--logger study`` with this folder's parent and the project on PYTHONPATH. This file
only translates: what is told is in ``progress``, what is left in ``foresight``, how it is said in
``words``. Everything that
Snakemake says itself and that is not about a single job appears as without this logger.
"""

from __future__ import annotations

import os
import sys
import time
from logging import LogRecord
from pathlib import Path
from threading import Event, RLock, Thread

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter, logger
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from ke_steps.job.errors import UserError
from ke_steps.running.leftovers import MORE_FOLLOWS
from snakemake_logger_plugin_study.foresight import look_ahead
from snakemake_logger_plugin_study.page import render, write
from snakemake_logger_plugin_study.progress import Failure, Progress
from snakemake_logger_plugin_study.words import ending, failure_words, line

SECONDS_BETWEEN_PAGES = 3.0
SECONDS_BETWEEN_LINES = 30.0

TOLD_BY_LINES = (
    LogEvent.JOB_INFO,
    LogEvent.JOB_STARTED,
    LogEvent.JOB_FINISHED,
    LogEvent.JOB_ERROR,
    LogEvent.GROUP_INFO,
    LogEvent.GROUP_ERROR,
    LogEvent.PROGRESS,
)
CHATTER = ("Select jobs to execute...", "RuleException:\nCalledProcessError")
"""How messages begin that say nothing new: the second comes with every job that failed."""


class LogHandler(LogHandlerBase):
    """Follows a run by Snakemake's events; in a dry run all is as without it."""

    def __post_init__(self) -> None:
        """Take over the terminal, with Snakemake's own words for all that is not a job."""
        common = self.common_settings
        self._terminal = ColorizingTextHandler(
            nocolor=common.nocolor,
            stream=sys.stdout if common.stdout else sys.stderr,
            formatter=DefaultFormatter(common.quiet, common.show_failed_logs),
            filter=DefaultFilter(
                common.quiet, common.debug_dag, common.verbose, common.dryrun, common.printshellcmds
            ),
        )
        self._progress = Progress(began=time.time(), more_follows=MORE_FOLLOWS in os.environ)
        self._told = time.monotonic()
        self._busy = RLock()
        self._is_over = Event()
        self._is_outlook_old = Event()
        self._is_outlook_old.set()
        self._is_warned = False

    def emit(self, record: LogRecord) -> None:
        """Show a record, or what it means for the run."""
        try:
            if self.common_settings.dryrun:
                self._terminal.handle(record)
                return
            with self._busy:
                self._follow(record)
            if self.common_settings.verbose or not _is_told_by_lines(record):
                self._terminal.handle(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Say how the run ended, once."""
        if not self._is_over.is_set():
            self._is_over.set()
            with self._busy:
                if self._progress.planned:
                    self._progress.end()
                    self._write_page()
                    self._tell_ending()
        super().close()

    def _follow(self, record: LogRecord) -> None:
        told, now = vars(record), time.time()
        match told.get("event"):
            case LogEvent.RESOURCES_INFO if "cores" in told:
                self._progress.num_cores = told["cores"]
            case LogEvent.RESOURCES_INFO if "gpu" in told.get("provided_resources", {}):
                self._progress.num_gpus = told["provided_resources"]["gpu"].value
            case LogEvent.RUN_INFO:
                self._progress.plan(told["stats"])
            case LogEvent.JOB_INFO:
                wildcards = dict(told["wildcards"] or {})
                is_first = self._page() is None
                self._progress.start(told["jobid"], told["rule_name"], wildcards, told["log"], now)
                if is_first and self._page() is not None:
                    logger.info(f"Progress as a page: {self._page()}")
                    Thread(target=self._keep_telling, daemon=True).start()
            case LogEvent.JOB_FINISHED:
                done = self._progress.finish(told["job_id"], now)
                if done is not None:
                    if done.job.rule == "fetch_checkpoint":  # now it is known how large it is
                        self._is_outlook_old.set()
                    self._tell()
            case LogEvent.JOB_ERROR:
                reason = (told["rule_msg"] or "").strip()
                failure = self._progress.fail(told["jobid"], told["log"], reason)
                self._tell_failures([failure] if failure else [])
            case LogEvent.GROUP_ERROR:  # comes before the errors of its jobs
                members = {member["jobid"]: member["log"] for member in told["job_error_info"]}
                self._tell_failures(self._progress.fail_group(members, told["aux_logs"]))
            case LogEvent.ERROR if not _is_told_by_lines(record):
                self._progress.error(record.getMessage())

    def _tell(self) -> None:
        """Say how far the run is. It goes through Snakemake's logger, so that its log has it."""
        self._told = time.monotonic()
        logger.info(line(self._progress, time.time()))

    def _tell_failures(self, failures: list[Failure]) -> None:
        for failure in failures:
            logger.error(failure_words(failure))

    def _tell_ending(self) -> None:
        words = ending(self._progress, time.time())
        if self._page() is not None:
            words += f" · {self._page()}"
        logger.info(words)  # for Snakemake's log: what it hands to this logger now comes too late
        self._terminal.handle(logger.makeRecord(logger.name, 20, "", 0, words, (), None))

    def _keep_telling(self) -> None:
        self._look_ahead()
        while not self._is_over.wait(SECONDS_BETWEEN_PAGES):
            self._look_ahead()
            with self._busy:
                if self._is_over.is_set():
                    return
                self._write_page()
                if time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
                    self._tell()

    def _look_ahead(self) -> None:
        """Read the plan, if need be, in this thread: events that wait for the other are lost."""
        if not self._is_outlook_old.is_set():
            return
        self._is_outlook_old.clear()
        try:
            look_ahead(self._progress)
        except (UserError, OSError) as error:
            logger.warning(f"the time left is told without the study's plan: {error}")

    def _page(self) -> Path | None:
        """Return where the page is; None until a job says where the results are."""
        results = self._progress.results
        return results / "status.html" if results else None

    def _write_page(self) -> None:
        path = self._page()
        if path is None:
            return
        try:
            write(path, render(self._progress, time.time()))
        except OSError as error:  # the run matters more than its page, and it may be tried again
            if not self._is_warned:
                logger.warning(f"the page of the run's progress could not be written: {error}")
            self._is_warned = True

    @property
    def writes_to_stream(self) -> bool:
        """Replace Snakemake's own lines on the terminal."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Leave the log file to Snakemake."""
        return False

    @property
    def has_filter(self) -> bool:
        """See the events of jobs even where the terminal is quiet about them."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Bring words of its own."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Need no graph of rules."""
        return False


def _is_told_by_lines(record: LogRecord) -> bool:
    is_of_a_job = vars(record).get("event") in TOLD_BY_LINES
    return is_of_a_job or record.getMessage().startswith(CHATTER)
