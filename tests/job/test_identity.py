"""What code a job ran: its commit, a mark where the code was changed, and where there is none."""

import subprocess
from pathlib import Path

import pytest

from ke_steps.job.identity import CHANGED, NO_REPOSITORY, commit_of


def git(folder: Path, *words: str) -> str:
    named = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    run = ["git", "-C", str(folder), *named, *words]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path):
    """A repository with code and a study, all of it committed."""
    for file in ("ke_steps/step.py", "workflow/Snakefile", "config/mine.yaml"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text("1")
    (tmp_path / ".gitignore").write_text("*.pyc")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "is_marked"),
    [
        ("ke_steps/step.py", True),
        ("workflow/Snakefile", True),
        ("ke_steps/new.py", True),
        ("ke_steps/step.pyc", False),
        ("config/mine.yaml", False),
        ("notes.txt", False),
    ],
)
def test_the_commit_is_marked_where_code_was_changed(project, file, is_marked):
    commit = git(project, "log", "-1", "--format=%H")
    assert commit_of(project) == commit
    (project / file).write_text("2")
    assert commit_of(project) == commit + (CHANGED if is_marked else "")


def test_without_a_repository_it_is_said(tmp_path):
    assert commit_of(tmp_path) == NO_REPOSITORY


def test_the_commit_of_a_repository_around_it_is_not_that_of_the_code(project):
    inner = project / "site-packages"
    (inner / "ke_steps").mkdir(parents=True)
    assert commit_of(inner).startswith("unknown: fatal: ")
    assert "ke_steps" in commit_of(inner)


def test_without_git_it_is_said(project, monkeypatch):
    monkeypatch.setenv("PATH", str(project))
    assert commit_of(project) == "unknown: git is not installed"
