"""The smoke study, finished once for all tests of the workflow."""

import pytest

from tests.invented.once import once
from tests.invented.project import Project
from tests.workflow import warm

LONGEST = ["test_slurm.py", "test_reruns.py", "test_kills.py", "test_public_suites.py"]
LONGEST += ["test_hub_study.py"]


def pytest_collection_modifyitems(items):
    """Begin with the longest files, so that at the end no process waits for another's."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def started(common_folder):
    """Where it is marked which steps have been started cold."""
    folder = common_folder / "started"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def finished_smoke(common_folder, started, tmp_path_factory):
    """The smoke study, run once for all processes that test; they leave it as it is."""

    def finish():
        project = Project(tmp_path_factory.mktemp("smoke"))
        with warm.starts(project, started):
            run = project.run()
        assert run.returncode == 0, run.stdout + run.stderr
        return project

    return once(common_folder / "finished_smoke.pickle", finish)
