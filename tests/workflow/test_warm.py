"""A step that starts warm is told, does and ends as one that starts by itself."""

import os

import pytest

from tests.invented.project import Project
from tests.workflow import warm

STEP = """
import os, signal, sys
print(os.getppid(), os.getcwd(), os.environ["KEY"], sys.argv[1:])
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "wrong":
    raise KeyError("no such thing")
sys.exit(sys.argv[1] if sys.argv[1] == "refused" else 0)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    (project.folder / "step.py").write_text(STEP)
    with warm.starts(project, tmp_path_factory.mktemp("started"), libraries=["json"]):
        yield project


def parent_and_words(said):
    parent, words = said.split(" ", 1)
    return int(parent), words


@pytest.mark.parametrize(
    ("ending", "status", "error"),
    [("well", 0, ""), ("refused", 1, "refused\n"), ("wrong", 1, "KeyError: 'no such thing'\n")],
)
def test_the_first_start_is_real_and_the_next_like_it(project, ending, status, error):
    step = f"step_{ending}"
    (project.folder / f"{step}.py").write_text(STEP)
    command = ["python", "-m", step, ending, "a b"]
    first, second = (project.call(command, KEY="value") for _ in range(2))
    assert [done.returncode for done in (first, second)] == [status, status]
    assert first.stderr.endswith(error)
    assert second.stderr.endswith(error)
    (parent, said), (other, said_again) = map(parent_and_words, (first.stdout, second.stdout))
    assert said == said_again == f"{project.folder} value ['{ending}', 'a b']\n"
    assert parent == os.getpid() != other


def test_a_step_that_is_killed_says_so(project):
    first, second = (project.call(["python", "-m", "step", "killed"], KEY="") for _ in range(2))
    assert (first.returncode, second.returncode) == (-9, 128 + 9)
