"""What code a job runs: the product's version, the commit it lies at, and Python."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from ke_steps.job.provenance import ROOT

VERSION = "0.1.0"
"""Of the product; the package, CITATION.cff and CHANGELOG.md have it too."""

CODE = ("ke_steps", "workflow")
"""What a job's commit stands for; a study or a document that changed does not count."""

NO_REPOSITORY = "not in a git repository"
CHANGED = " with changes that are not committed"


def identity() -> dict[str, str]:
    """Return what a job's record says of its code."""
    return {"version": VERSION, "commit": commit_of(ROOT), "python": platform.python_version()}


def commit_of(folder: Path) -> str:
    """Return the commit of the code in a folder, marked where the code has changes beside it.

    Where there is none, it is said instead: no repository, or why git does not tell.
    """
    if not any((place / ".git").exists() for place in (folder, *folder.parents)):
        return NO_REPOSITORY
    try:
        # the second name asks whether the commit has this code at all
        commit = _git(folder, "rev-parse", "HEAD", f"HEAD:./{CODE[0]}").split()[0]
        return commit + (CHANGED if _git(folder, "status", "--porcelain", "--", *CODE) else "")
    except FileNotFoundError:
        return "unknown: git is not installed"
    except subprocess.CalledProcessError as error:
        return f"unknown: {(error.stderr.strip() or str(error)).splitlines()[-1]}"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(  # noqa: S603
        ["git", "--no-optional-locks", "-C", str(folder), *arguments],  # noqa: S607
        env=os.environ | {"LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
