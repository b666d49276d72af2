"""The smoke study, finished once for all tests of the workflow."""

import pytest

from tests.workflow.project import Project


@pytest.fixture(scope="session")
def finished_smoke(tmp_path_factory):
    """The smoke study, run once; tests leave it as it is."""
    project = Project(tmp_path_factory.mktemp("smoke"))
    run = project.run()
    assert run.returncode == 0, run.stdout + run.stderr
    return project
