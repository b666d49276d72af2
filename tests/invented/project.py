"""A copy of the project, in which the tests run Snakemake."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

from tests.invented.forks import Forks

ROOT = Path(__file__).parent.parent.parent

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
"""Commands of this Python first."""

FORKS = Forks("tests.invented.preloaded")

OUTER_MAKE = dict.fromkeys(("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"), "")
"""What a make that runs these tests tells its children of itself, taken back."""

PRETENDER = """#!{python} -ES
# Stands for the steps: makes what a job would make, without its content.
import hashlib, json, pathlib, sys
made, settings, flag = {{}}, {{}}, ""
for word in sys.argv[1:]:
    if word.startswith("--"):
        flag = word
    elif flag.startswith("--output"):
        path = pathlib.Path(word)
        path.parent.mkdir(parents=True, exist_ok=True)
        # the last words of a run are read from it
        content = json.dumps({{"terminal": [word]}}) if path.name == "summary.json" else word
        path.write_text(content)
        made[word] = hashlib.sha256(content.encode()).hexdigest()
    elif flag == "--settings":
        settings = json.loads(pathlib.Path(word[1:]).read_text() if word[0] == "@" else word)
    elif flag == "--record":
        pathlib.Path(word).write_text(json.dumps({{"settings": settings, "outputs": made}}))
"""


def snakemake(folder, arguments, *, source=ROOT):
    """Run Snakemake in half the time of a new interpreter; return its exit status and words.

    Args:
        folder: where it runs.
        arguments: of its command line.
        source: where our package and loggers are imported from.
    """
    said = folder / "said.txt"
    process = FORKS.start(_become_snakemake, folder, arguments, source, said)
    process.join()
    return process.exitcode, said.read_text()


def _become_snakemake(folder, arguments, source, said):
    """Be Snakemake in a process that has loaded it already, but nothing of a project."""
    sys.dont_write_bytecode = source == ROOT  # as in `variables`
    os.environ["PATH"] = PATH
    os.chdir(folder)
    sys.path[:0] = [str(source), str(source / "workflow/logger")]
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from snakemake.cli import main

    main(arguments)


def copy_into(folder, source, *names):
    """Copy files and folders with their times; what links lead to, not the links."""
    subprocess.run(["cp", "-RLp", *(source / name for name in names), folder], check=True)


class Project:
    """A copy of the project in a folder of its own.

    Attributes:
        study: its config, at first the smoke study's.
        environment: variables that Snakemake and its jobs see besides those of the tests.
    """

    def __init__(self, folder, source=ROOT):
        self.folder = folder
        self.environment = {}
        copy_into(folder, source, "Snakefile", "Makefile", "workflow", "ke_steps", "config")
        copy_into(folder, source, "CITATION.cff")
        (folder / "docs").mkdir()
        copy_into(folder / "docs", source / "docs", "glossary.md")
        self.study = yaml.safe_load((folder / "config/smoke.yaml").read_text())

    def clone(self, folder):
        """Return a new clone of this project's sources, with its study and without its results."""
        other = Project(folder, self.folder)
        other.study = json.loads(json.dumps(self.study))
        other.environment = dict(self.environment)
        return other

    def copy(self, folder):
        """Return a copy of all of it: sources, results and Snakemake's memory, with their times."""
        other = self.clone(folder)
        copy_into(folder, self.folder, "results", ".snakemake")
        return other

    def results(self, *parts):
        """Return a path in the study's results folder."""
        return Path(self.folder, self.study["results_dir"], *parts)

    def command(self, *arguments):
        """Return Snakemake's command as the Makefile has it, for the study as it is now."""
        (self.folder / "config/study.yaml").write_text(yaml.safe_dump(self.study))
        command = ["snakemake", "--cores", "2", "--configfile", "config/study.yaml"]
        return [*command, "--workflow-profile", "workflow/profiles/local", *arguments]

    def run_command(self, *arguments):
        """Return the command behind `make report`."""
        run = ["python", "-m", "ke_steps.running.run_study", "config/study.yaml", "--"]
        return [*run, *self.command(*arguments)]

    def variables(self):
        """Return the environment of commands: this Python first on the path.

        Bytecode is kept wherever the tests run: a copy takes it along, and compiles nothing again.
        """
        return os.environ | {"PATH": PATH, "PYTHONDONTWRITEBYTECODE": ""} | self.environment

    def call(self, command, **variables):
        """Run a command in this project to its end."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.variables() | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def shell(self, line):
        """Run a line as somebody types it; the environment of the tests is that of the project."""
        (self.folder / ".venv").mkdir(exist_ok=True)
        copy_into(self.folder, ROOT, "requirements.txt")
        (self.folder / ".venv/ready").touch()  # newer than what it is made of
        return self.call(["sh", "-c", line], **OUTER_MAKE)

    def snakemake(self, *arguments):
        """Run Snakemake as the Makefile does."""
        return self.call(self.command(*arguments))

    def run(self, *arguments):
        """Run the study as `make report` does."""
        return self.call(self.run_command(*arguments))

    def pretend(self):
        """Run the study with steps that compute nothing; only the rules and files are real.

        Returns the jobs by rule of each Snakemake that had any.
        """
        pretender = self.folder / "pretender/python"
        pretender.parent.mkdir(exist_ok=True)
        pretender.write_text(PRETENDER.format(python=sys.executable))
        pretender.chmod(0o755)
        path = f"{pretender.parent}:{self.variables()['PATH']}"
        done = self.call([sys.executable, *self.run_command()[1:]], PATH=path)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        tables = re.findall(r"^Job stats:\n(.*?)^total ", said, re.MULTILINE | re.DOTALL)
        counts = [dict(re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)) for table in tables]
        return [{rule: int(n) for rule, n in jobs.items() if rule != "all"} for jobs in counts]

    def dry_run(self):
        """Return what Snakemake says that it would do."""
        _, *arguments = self.command("--dry-run", "--logger", "jobs")
        status, said = snakemake(self.folder, arguments, source=self.folder)
        assert status == 0, said
        return said

    def pending(self):
        """Return the rules that a run would execute, with the number of jobs."""
        from ke_steps.planning.why import (
            read_dry_run,  # not above: the fork would have this ke_steps
        )

        return dict(Counter(job.rule for job in read_dry_run(self.dry_run())))
