"""The plan's counts are Snakemake's own, and so is what it says of a changed study."""

from collections import Counter

import pytest
import yaml

from ke_steps.planning.costs import costs_by_rule, jobs
from ke_steps.planning.model_sizes import UNKNOWN
from ke_steps.planning.why import read_dry_run
from ke_steps.study.reading import read_study
from tests.invented.project import ROOT, Project


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def planned(config):
    """Return the jobs by rule that the plan counts."""
    study = read_study(config, need_files=False)
    costs = costs_by_rule(jobs(study, dict.fromkeys(study.models, UNKNOWN)))
    return {rule: cost.num_jobs for rule, cost in costs.items()}


@pytest.mark.parametrize("config", ["smoke", "config"])
def test_jobs_are_those_of_the_dry_run(project, config):
    project.study = yaml.safe_load((ROOT / f"config/{config}.yaml").read_text())
    assert planned(project.study) == project.pending()


def test_what_a_change_reruns_is_said_with_its_reason(project):
    done = project.snakemake("results/smoke/prepare_knowledge/passages.parquet")
    assert done.returncode == 0, done.stdout + done.stderr
    project.study["knowledge"]["num_once_passages"] = 3
    pending = Counter((job.rule, job.reason) for job in read_dry_run(project.dry_run()))
    assert pending["prepare_knowledge", "settings changed"] == 1
    others = planned(project.study)
    del others["prepare_knowledge"]
    assert {(rule, "not there yet"): number for rule, number in others.items()} == {
        job: number for job, number in pending.items() if job[0] != "prepare_knowledge"
    }
