"""Set-up that cannot work says so in one line, before it makes anything."""

import subprocess
import sys

import pytest

from tests.invented.project import ROOT


def make(*arguments):
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def fake_python(path, fails_on):
    """An interpreter that is this one, except that it fails on code containing a word."""
    path.write_text(
        f'#!/bin/sh\ncase "$2" in *{fails_on}*) exit 1;; esac\nexec "{sys.executable}" "$@"\n'
    )
    path.chmod(0o755)
    return path


def test_help_lists_every_command():
    listed = make("help").stdout
    commands = ("report", "why", "plan", "smollm2", "test", "test-fast", "kills", "lint", "clean")
    for command in commands:
        assert f"make {command} " in listed


@pytest.mark.parametrize(
    ("fails_on", "says"),
    [
        ("version_info", "set-up: Python 3.11 is needed"),
        ("ensurepip", "set-up: the venv module is missing; on Debian and Ubuntu: apt install"),
    ],
)
def test_unfit_python_is_refused(tmp_path, fails_on, says):
    python = fake_python(tmp_path / "python", fails_on)
    made = make("report", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert made.returncode != 0
    assert made.stderr.startswith(says)
    assert not (tmp_path / "venv").exists()


def test_missing_python_is_refused(tmp_path):
    made = make("report", "PYTHON=python3.99", f"VENV={tmp_path / 'venv'}")
    assert made.returncode != 0
    assert made.stderr.startswith("set-up: python3.99 not found; install Python 3.11")


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("STUDY=config/no_such.yaml", "STUDY: no such file: config/no_such.yaml"),
        ("PROFILE=cloud", "PROFILE: got cloud; valid profiles: "),
    ],
)
def test_wrong_argument_is_refused(argument, says):
    made = make("report", argument, "-o", ".venv/ready")
    assert made.returncode != 0
    assert made.stderr.startswith(says)
