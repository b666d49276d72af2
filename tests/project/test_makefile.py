"""Set-up works where it can, says in one line why it cannot, and deletes nothing of others."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.invented.project import OUTER_MAKE, ROOT

pytestmark = pytest.mark.slow

INTERPRETER = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
BARE_TOOLS = ("sh", "make", "env", "cat", "find", "grep", "head", "ls", "mkdir", "readlink", "rm")
BARE_TOOLS += ("rmdir", "sed", "touch", "expand", "getconf", "printf", "test", "dirname")


def make(*arguments, cwd=ROOT, **environment):
    """Make as from a shell, also where make runs these tests: it tells its children of itself."""
    return subprocess.run(
        ["make", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | OUTER_MAKE | environment,
    )


def fake_python(path, fails_on):
    """An interpreter that is this one, except that it fails on code containing a word."""
    path.write_text(
        f'#!/bin/sh\ncase "$2" in *{fails_on}*) exit 1;; esac\nexec "{INTERPRETER}" "$@"\n'
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path):
    """A project whose lock is empty, and which has no environment yet."""
    folder = tmp_path / "it's a $HOME"
    (folder / "workflow" / "scripts").mkdir(parents=True)
    for name in ("Makefile", "workflow/scripts/environment.sh"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "workflow" / "profiles", folder / "workflow" / "profiles")
    (folder / "config").mkdir()
    (folder / "requirements.txt").write_text("# nothing\n")
    return folder


@pytest.fixture
def bare(tmp_path):
    """A PATH with the tools of any system and no Python; tests put interpreters into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in BARE_TOOLS:
        if found := shutil.which(tool):
            (folder / tool).symlink_to(found)
    return folder


def set_up(project, *arguments, **environment):
    return make(".venv/ready", *arguments, cwd=project, **environment)


def script(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_help_lists_every_command():
    listed = make("help").stdout
    commands = (
        "measure",
        "report",
        "why",
        "plan",
        "smollm2",
        "test",
        "test-fast",
        "kills",
        "lint",
        "clean",
    )
    for command in commands:
        assert f"make {command} " in listed


@pytest.mark.parametrize(
    ("fails_on", "says"),
    [
        ("version_info", "set-up: Python 3.11, 3.12 or 3.13 is needed"),
        ("ensurepip", "set-up: the venv module of "),
    ],
)
def test_unfit_python_is_refused(project, tmp_path, fails_on, says):
    python = fake_python(tmp_path / "python", fails_on)
    made = set_up(project, f"PYTHON={python}")
    assert made.returncode != 0
    assert made.stderr.startswith(says)
    assert not (project / ".venv").exists()


def test_missing_python_is_refused(project):
    made = set_up(project, "PYTHON=python3.99")
    assert made.returncode != 0
    assert made.stderr.startswith("set-up: python3.99 not found; install Python 3.11, 3.12 or 3.13")


def test_the_first_python_that_fits_is_taken(project, bare):
    """Some names only pretend to be there, as those of version managers do; one is too old."""
    script(bare / "python3.11", "echo 'python3.11: command not found' >&2; exit 127")
    fake_python(bare / "python3.12", "ensurepip")
    script(bare / "python3.13", f'exec "{INTERPRETER}" "$@"')
    made = set_up(project, PATH=str(bare))
    assert made.returncode == 0, made.stderr
    assert (project / ".venv" / "ready").exists()
    config = (project / ".venv" / "pyvenv.cfg").read_text()
    assert re.search(r"executable = .*python3\.\d+", config)


@pytest.mark.parametrize(
    ("tools", "says"),
    [
        ({}, r"not found; install one or say make PYTHON="),
        ({"uv": "exit 2"}, r"not found; uv brings one: uv python install 3\.12$"),
        ({"conda": "exit 2"}, r"conda create --yes --name python3\.12 python=3\.12 && conda run"),
        ({"python3": "exit 1"}, r"not found; install one or say make PYTHON="),
    ],
)
def test_where_no_python_fits_the_line_that_brings_one_is_printed(project, bare, tools, says):
    for name, body in tools.items():
        script(bare / name, body)
    made = set_up(project, PATH=str(bare))
    assert made.returncode != 0
    first, *_ = made.stderr.splitlines()
    assert first.startswith("set-up: Python 3.11, 3.12 or 3.13 not found")
    assert re.search(says, first)
    assert not (project / ".venv").exists()


def test_a_python_without_venv_is_told_what_it_lacks(project, bare):
    fake_python(bare / "python3", "ensurepip")
    made = set_up(project, PATH=str(bare))
    assert re.match(r"set-up: the venv module of python3 is missing; .*apt install", made.stderr)


def test_a_python_that_uv_has_is_used(project, bare):
    script(bare / "uv", f'[ "$1 $2" = "python find" ] && echo "{INTERPRETER}"')
    made = set_up(project, PATH=str(bare))
    assert made.returncode == 0, made.stderr
    assert (project / ".venv" / "ready").exists()


def test_a_link_to_another_disk_is_filled_again_and_again(project, tmp_path):
    """Also when the interpreter found first is the environment's own."""
    disk = tmp_path / "other disk"
    disk.mkdir()
    (project / ".venv").symlink_to(disk)
    for _ in range(2):
        made = set_up(project)
        assert made.returncode == 0, made.stderr
        assert (project / ".venv").is_symlink()
        ran = subprocess.run(
            [project / ".venv" / "bin" / "python", "-c", "import pip, sys; print(sys.prefix)"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert Path(ran.stdout.strip()).resolve() == disk
        (disk / "ready").unlink()
    assert make("clean", cwd=project).returncode == 0
    assert (project / ".venv").is_symlink()
    assert list(disk.iterdir()) == []


def test_the_package_is_imported_from_any_folder(project, tmp_path):
    (project / "ke_steps").mkdir()
    (project / "ke_steps/__init__.py").touch()
    assert set_up(project).returncode == 0
    run = [project / ".venv/bin/python", "-c", "import ke_steps; print(ke_steps.__file__)"]
    found = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == project / "ke_steps/__init__.py"


def test_a_link_to_nowhere_is_refused(project, tmp_path):
    (project / ".venv").symlink_to(tmp_path / "unmounted")
    made = set_up(project)
    assert made.returncode != 0
    assert made.stderr.startswith(f"set-up: .venv is a link to {tmp_path / 'unmounted'}, which is")
    assert not (tmp_path / "unmounted").exists()


@pytest.mark.parametrize("command", [".venv/ready", "clean"])
@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("names", [["thesis.tex"], ["pyvenv.cfg", "bin"], ["made-for", "ready"]])
def test_what_is_not_ours_is_never_deleted(project, tmp_path, command, is_link, names):
    """Files, another's environment, and through a link the environment of another project."""
    folder = tmp_path / "theirs" if is_link else project / ".venv"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("/another/project\n")
    if is_link:
        (project / ".venv").symlink_to(folder)
    made = make("-W", "requirements.txt", command, cwd=project)
    if names[0] == "made-for" and not is_link:
        assert made.returncode == 0
        assert (folder / "bin").exists() == (command != "clean")
    else:
        assert made.returncode != 0
        assert made.stderr.startswith("set-up: .venv holds what make did not put there")
        assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_an_interrupted_set_up_is_begun_again(project):
    (project / ".venv" / "lib").mkdir(parents=True)
    (project / ".venv" / "lib" / "half").touch()
    (project / ".venv" / "made-for").write_text(f"{project}\n")
    assert set_up(project).returncode == 0
    assert not (project / ".venv" / "lib" / "half").exists()


def test_a_file_instead_of_an_environment_is_refused(project):
    (project / ".venv").write_text("notes")
    assert set_up(project).stderr.startswith("set-up: .venv is no folder")
    assert (project / ".venv").read_text() == "notes"


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("STUDY=config/no_such.yaml", "config/no_such.yaml: no such file; studies are in"),
        ("STUDY=config/it's $HOME.yaml", "config/it's $HOME.yaml: no such file; studies "),
        ("PROFILE=cloud", "PROFILE: got cloud; valid profiles: "),
        ("PROFILE=it's", "PROFILE: got it's; valid profiles: "),
        ("PROFILE=", "PROFILE: got ; valid profiles: "),
        ("CORES=many", "CORES: got many; say a number, or all"),
        ("CORES=0", "CORES: got 0; say a number, or all"),
    ],
)
@pytest.mark.parametrize("command", ["report", "why", "plan"])
def test_wrong_argument_is_refused_before_set_up(project, command, argument, says):
    (project / "config" / "config.yaml").touch()
    made = make(command, argument, cwd=project)
    assert made.returncode != 0
    assert made.stderr.startswith(says)
    assert not (project / ".venv").exists()


@pytest.mark.parametrize(
    ("command", "module"),
    [("report", "running.run_study"), ("plan", "planning.plan"), ("why", "planning.why")],
)
@pytest.mark.parametrize("name", ["it's.yaml", 'two "words".yaml', "$HOME `ls`.yaml", "a;b&c.yaml"])
def test_a_study_may_be_named_as_people_name_files(project, name, command, module):
    """The command that is run, as the shell hands it on."""
    study = f"config/{name}"
    (project / study).touch()
    bin_folder = project / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (project / ".venv" / "ready").touch()
    script(bin_folder / "python", 'printf "%s\\n" "$@" "$PYTHONPATH"')
    for given in ((f"STUDY={study}",), ()):
        environment = {} if given else {"STUDY": study}
        made = make(command, *given, "CORES=1", cwd=project, PYTHONPATH="/before", **environment)
        assert made.returncode == 0, made.stderr
        words = made.stdout.splitlines()
        assert words[:4] == ["-m", f"ke_steps.{module}", study, "--"]
        assert words[words.index("--configfile") + 1] == study
        assert words[-1] == f"{project}:{project}/workflow/logger:/before"
        assert f"STUDY={study}" in make("help", *given, cwd=project, **environment).stdout


@pytest.mark.parametrize("arguments", [(), ("MODEL=x",), ("TEXT=x",), ("MODEL=", "TEXT=")])
def test_measure_says_what_it_needs_before_set_up(project, arguments):
    made = make("measure", *arguments, cwd=project, MODEL="", TEXT="")
    assert made.returncode != 0
    assert made.stderr.startswith("usage: make measure MODEL=<folder, owner/name or x.gguf> TEXT=")
    assert not (project / ".venv").exists()


def test_measure_takes_names_as_people_give_them(project):
    bin_folder = project / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (project / ".venv" / "ready").touch()
    script(bin_folder / "python", 'printf "%s\\n" "$@"')
    made = make("measure", "MODEL=it's $HOME", "TEXT=a b.txt", "OPTIONS=--json --csv", cwd=project)
    assert made.returncode == 0, made.stderr
    expected = ["-m", "ke_steps.measure", "it's $HOME", "--text", "a b.txt", "--json", "--csv"]
    assert made.stdout.splitlines() == expected
