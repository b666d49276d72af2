"""The smoke study on a real SLURM: killed in the middle, run again, and what its jobs asked for."""

import os
import re
import subprocess
import time

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from ke_steps.study.requests import DEFAULTS
from tests.invented.project import ROOT, Project

PARTITIONS = {"cpu", "gpu"}
GPU_RULES = {rule for rule, request in DEFAULTS.items() if request.num_gpus}
PRETENCE = """import os
# its GPUs are pretended: a step that has some computes on the CPU
os.environ.pop("KE_STEPS_NUM_GPUS", None)
"""
LOCAL_RULES = ["prepare_corpus", "plot_figures", "write_report"]
SLURM_MINI = ROOT.parent / "shared/tools/slurm-mini.sh"
FOR_ONE_NODE = {
    "slurm-status-command": "squeue",  # a SLURM for tests keeps no accounts
    "slurm-init-seconds-before-status-checks": 4,
    "latency-wait": 10,
    "resources": ["side_by_side=2"],
}
SAME_AS_LOCAL = [
    "pretrain_nursery/tiny/training.parquet",
    "prepare_corpus/tiny/continual/sequences.parquet",
    "aggregate_entropy/tiny/step8/boost/pretraining/entropy.parquet",
    "describe_memories/tiny/step8/memories.parquet",
    "evaluate_retention/tiny/step8/boost/retention.parquet",
    "evaluate_novelty/tiny/step8/novelty.parquet",
]

# asked for before the smoke study that results are compared with: without a SLURM nothing is run
pytestmark = pytest.mark.usefixtures("slurm")


def in_short(smoke):
    """Return a study with every rule of the smoke study, two states, and small requests.

    A job of SLURM starts two Snakemakes before its step.
    """
    small = {"memory_gb": 0.4, "runtime_minutes": 10}
    jobs = {rule: dict(small) for rule in DEFAULTS}
    jobs["inject_knowledge"]["num_gpus"] = 2
    recipe = smoke["recipes"]["longer"] | {"variants": ["boost"]}
    return smoke | {
        "seeds": [0],
        "models": {"tiny": smoke["models"]["tiny"] | {"steps": [8]}},
        "variants": {"boost": smoke["variants"]["boost"]},
        "recipes": {"longer": recipe},
        "plot_figures": {"figures": ["entropy_by_stage"]},
        "extract_coefficients": smoke["extract_coefficients"] | {"other_corpora": []},
        "cluster": {
            "cpu_partition": "cpu",
            "gpu_partition": "gpu",
            "local_rules": LOCAL_RULES,
            "jobs": jobs,
        },
    }


def partitions():
    """Return the partitions of the SLURM on PATH; none if it does not answer."""
    try:
        said = subprocess.run(
            ["sinfo", "--noheader", "--format=%R"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return set()
    return set(said.stdout.split())


def slurm_jobs(folder):
    """Return {SLURM's number: its fields} of a folder's jobs that SLURM still remembers."""
    command = ["scontrol", "--oneliner", "show", "jobs"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    jobs = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in said.splitlines()]
    return {job["JobId"]: job for job in jobs if job.get("WorkDir") == str(folder)}


class SlurmStudy:
    """A study on SLURM, and all that SLURM said of its jobs while it ran."""

    def __init__(self, folder):
        self.project = Project(folder)
        study = in_short(self.project.study)
        (folder / "config/study.yaml").write_text(yaml.safe_dump(study))
        profile = folder / "workflow/profiles/slurm/config.yaml"
        options = yaml.safe_load(profile.read_text()) | FOR_ONE_NODE
        profile.write_text(yaml.safe_dump(options))
        (folder / "sitecustomize.py").write_text(PRETENCE)
        self.project.environment["PYTHONPATH"] = str(folder)
        self.jobs = {}

    def start(self):
        command = ["make", "report", "PROFILE=slurm", "STUDY=config/study.yaml"]
        return subprocess.Popen(
            [*command, "--old-file=.venv/ready"],
            cwd=self.project.folder,
            env=self.project.variables(),
            stdout=(self.project.folder / "run.txt").open("a"),
            stderr=subprocess.STDOUT,
        )

    def watch(self, run, *, until=lambda job: False):
        """Note what SLURM says until the run ends or ``until`` is true of a job; return that."""
        while run.poll() is None:
            self.look()
            if found := [job for job in self.jobs.values() if until(job)]:
                return found[0]
            time.sleep(1)
        self.look()
        return None

    def look(self):
        self.jobs |= slurm_jobs(self.project.folder)

    def said(self):
        return (self.project.folder / "run.txt").read_text()

    def find(self, name):
        """Return the jobs of a rule or group."""
        return [job for job in self.jobs.values() if re.match(f"{name}(_|$)", job["Comment"])]


@pytest.fixture(scope="session")
def slurm():
    if partitions() >= PARTITIONS:
        return
    message = (
        f"no SLURM with partitions {' and '.join(sorted(PARTITIONS))} answers;"
        " .ci/run starts one where it can"
    )
    if os.environ.get("CI") == "true" and SLURM_MINI.is_file():
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A study whose training runs on; all else that belongs to its run was killed with SIGKILL."""
    study = SlurmStudy(tmp_path_factory.mktemp("slurm"))
    run = study.start()
    orphan = study.watch(
        run,
        until=lambda job: job["JobState"] == "RUNNING" and "pretrain_nursery" in job["Comment"],
    )
    assert orphan is not None, study.said()
    controllers = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    for process in controllers:
        process.kill()
    psutil.wait_procs(controllers)
    run.wait()
    return study, orphan["JobId"]


@pytest.fixture(scope="module")
def finished(killed):
    """The killed study, run again to its end."""
    study, orphan = killed
    study.look()
    assert study.jobs[orphan]["JobState"] in {"RUNNING", "COMPLETING", "COMPLETED"}
    run = study.start()
    study.watch(run)
    assert run.returncode == 0, study.said()
    return study


def test_the_report_is_there(finished):
    assert "Smoke study" in finished.project.results("report.html").read_text()


def test_no_job_of_the_killed_run_worked_beside_the_next(finished, killed):
    _, orphan = killed
    first, second = finished.find("rule_pretrain_nursery")
    assert first["JobId"] == orphan
    assert first["EndTime"] <= second["SubmitTime"]


def test_jobs_with_a_gpu_are_those_that_use_one(finished):
    for job in finished.jobs.values():
        needs_gpu = any(rule in job["Comment"] for rule in GPU_RULES)
        assert ("gpu" in job.get("TresPerJob", "")) == needs_gpu, job
        assert job["Partition"] == ("gpu" if needs_gpu else "cpu"), job


def test_a_learning_run_has_its_two_gpus_and_two_processes(finished):
    (run,) = finished.find("rule_inject_knowledge")
    assert run["TresPerJob"].endswith("gpu:2")
    assert (run["NumCPUs"], run["NumNodes"]) == ("2", "1")
    log = finished.project.results("logs/inject_knowledge/tiny/step8/boost/longer/seed0/log.txt")
    record = log.with_name("record.json").read_text()
    assert '"num_ranks": "2"' in record


def test_small_steps_are_one_job_of_bounded_size(finished):
    (tables,) = finished.find("rule_tables")
    assert (tables["NumCPUs"], tables["MinMemoryNode"]) == ("2", "800M")
    assert tables["TimeLimit"] == "00:30:00"  # five steps, two at a time
    assert len(finished.find("rule_knowledge")) == 1
    assert len(finished.find("rule_memories")) == 2


def test_local_rules_are_no_jobs_and_all_others_are(finished):
    of_slurm = " ".join(job["Comment"] for job in finished.jobs.values())
    run = {folder.name for folder in finished.project.results("logs").iterdir()}
    assert {rule for rule in run if rule not in of_slurm} == set(LOCAL_RULES)


def test_results_are_those_of_one_machine(finished, finished_smoke):
    for path in SAME_AS_LOCAL:
        here, there = (pq.read_table(p.results(path)) for p in (finished.project, finished_smoke))
        assert here.equals(there), path
