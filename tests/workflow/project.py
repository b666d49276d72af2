"""A copy of the project, in which the tests run Snakemake."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent.parent


class Project:
    """A copy of the project in a folder of its own.

    Attributes:
        study: its config, at first the smoke study's.
        environment: variables that Snakemake and its jobs see besides those of the tests.
    """

    def __init__(self, folder):
        self.folder = folder
        self.environment = {}
        for name in ("Snakefile", "workflow", "ke_steps", "config"):
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
        self.study = yaml.safe_load((folder / "config/smoke.yaml").read_text())

    def snakemake(self, *arguments):
        """Run Snakemake as the Makefile does."""
        (self.folder / "config/study.yaml").write_text(yaml.safe_dump(self.study))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        command = ["snakemake", "--cores", "2", "--configfile", "config/study.yaml"]
        command += ["--workflow-profile", "workflow/profiles/local", *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"PATH": path} | self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def pending(self):
        """Return the rules that a run would execute, with the number of jobs."""
        dry = self.snakemake("--dry-run", "--quiet", "host")
        assert dry.returncode == 0, dry.stderr
        table = re.search(r"Job stats:\n.*?\n-+.*?\n(.*?)\ntotal", dry.stdout + dry.stderr, re.S)
        if table is None:
            assert "Nothing to be done" in dry.stdout + dry.stderr
            return {}
        jobs = dict(line.split() for line in table.group(1).splitlines())
        return {rule: int(count) for rule, count in jobs.items() if rule != "all"}
