"""A run for the tests of progress, told by events without Snakemake."""

from snakemake_logger_plugin_study.foresight import time_left
from snakemake_logger_plugin_study.progress import Progress
from snakemake_logger_plugin_study.words import line

SECONDS = 1_000.0
"""When the run began, by its own clock."""


class Run:
    """A run of ten trainings and one drawing, told by events at times of a clock of its own."""

    def __init__(self, folder, planned=None):
        self.folder = folder
        self.progress = Progress(began=SECONDS)
        self.progress.plan(planned or {"train": 10, "draw": 1, "all": 1, "total": 12})

    def log_of(self, number, rule="train"):
        return self.folder / "results/logs" / rule / f"seed{number}" / "log.txt"

    def start(self, number, at, rule="train"):
        log = self.log_of(number, rule)
        logs = [str(log), str(log.with_name("record.json"))]
        self.progress.start(number, rule, {"seed": str(number)}, logs, SECONDS + at)

    def write(self, number, text, rule="train"):
        log = self.log_of(number, rule)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text)

    def finish(self, number, at):
        return self.progress.finish(number, SECONDS + at)

    def left(self, at):
        return time_left(self.progress, SECONDS + at)

    def line(self, at):
        return line(self.progress, SECONDS + at)
