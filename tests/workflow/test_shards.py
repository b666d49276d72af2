"""An extraction shared by several jobs, in the workflow."""

import pytest

from ke_steps.planning.costs import costs_by_rule, jobs
from ke_steps.planning.model_sizes import UNKNOWN
from ke_steps.study.reading import read_study
from tests.invented.project import Project


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def planned(study):
    costs = costs_by_rule(jobs(study, dict.fromkeys(study.models, UNKNOWN)))
    return {rule: cost.num_jobs for rule, cost in costs.items()}


def test_shards_take_the_place_of_an_extraction(project):
    whole = planned(read_study(project.study))
    number = whole.pop("extract_coefficients")
    project.study["extract_coefficients"]["num_shards"] = 2
    expected = whole | {"extract_shard": 2 * number, "merge_shards": number}
    assert planned(read_study(project.study)) == expected
    assert project.pending() == expected
