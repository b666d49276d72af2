"""The plan's jobs are Snakemake's own, and so is what it says of a changed study."""

import json
from collections import Counter

import pytest
import yaml

from ke_steps.artefacts.places import NUMBERS
from ke_steps.planning.costs import jobs
from ke_steps.planning.dry_run import RULES
from ke_steps.planning.model_sizes import UNKNOWN
from ke_steps.planning.why import read_dry_run
from ke_steps.study.reading import read_study
from tests.invented.project import ROOT, Project, snakemake


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def planned(config):
    """Return the jobs of the plan: rules and places."""
    study = read_study(config, need_files=False)
    sizes = dict.fromkeys(study.models, UNKNOWN)
    return [(job.rule, job.place) for job in jobs(study, sizes)]


def place(wildcards):
    return "/".join(f"{n}{value}" if n in NUMBERS else value for n, value in wildcards.items())


@pytest.mark.parametrize("config", ["smoke", "config"])
def test_jobs_are_those_of_the_dry_run(project, config):
    project.study = yaml.safe_load((ROOT / f"config/{config}.yaml").read_text())
    found = json.loads(project.dry_run().splitlines()[-1])["jobs"]
    done = [(job["rule_name"], place(job["wildcards"])) for job in found]
    assert Counter(done) == Counter([*planned(project.study), ("all", "")])


FEWER_GPUS = "cluster.jobs.inject_knowledge.num_gpus: got 2, the profile lets jobs have 1"


@pytest.mark.parametrize(
    ("profile", "says"),
    [("resources: [gpu=1]", FEWER_GPUS), ("no_such_option: 1", "--no_such_option")],
)
def test_what_only_snakemake_refuses_is_refused_without_building_the_dag(project, profile, says):
    project.study["cluster"] = {"jobs": {"inject_knowledge": {"num_gpus": 2}}}
    (project.folder / "workflow/profiles/local/config.yaml").write_text(profile)
    _, *arguments = project.command(*RULES)
    status, said = snakemake(project.folder, arguments, source=project.folder)
    assert status != 0
    assert says in said


def test_what_a_change_reruns_is_said_with_its_reason(project):
    done = project.snakemake("results/smoke/prepare_knowledge/passages.parquet")
    assert done.returncode == 0, done.stdout + done.stderr
    project.study["knowledge"]["num_once_passages"] = 3
    pending = Counter((job.rule, job.reason) for job in read_dry_run(project.dry_run()))
    assert pending["prepare_knowledge", "settings changed"] == 1
    others = Counter(rule for rule, _ in planned(project.study))
    del others["prepare_knowledge"]
    assert {(rule, "not there yet"): number for rule, number in others.items()} == {
        job: number for job, number in pending.items() if job[0] != "prepare_knowledge"
    }
