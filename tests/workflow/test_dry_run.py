"""The logger of dry runs under Snakemake itself: jobs as data, and words where there are none."""

import json

import pytest

from ke_steps.job.errors import UserError
from ke_steps.planning.dry_run import num_jobs_told
from ke_steps.planning.why import Pending, read_dry_run
from tests.invented.project import snakemake

SNAKEFILE = """
rule all:
    input:
        "tables/a, b=1/step2, made.txt",

rule make:
    input:
        "source.txt",
    output:
        "made/{model}/step{step}, made.txt",
    shell:
        "mkdir -p made && cp {input:q} {output:q}"

rule tell:
    input:
        "made/{model}/step{step}, made.txt",
    output:
        "tables/{model}/step{step}, made.txt",
    shell:
        "cp {input:q} {output:q}"
"""
JOBS = [
    {
        "rule_name": "make",
        "wildcards": {"model": "a, b=1", "step": "2"},
        "output": ["made/a, b=1/step2, made.txt"],
        "reason": "Missing output files: made/a, b=1/step2, made.txt",
    },
    {
        "rule_name": "tell",
        "wildcards": {"model": "a, b=1", "step": "2"},
        "output": ["tables/a, b=1/step2, made.txt"],
        "reason": "Missing output files: tables/a, b=1/step2, made.txt; "
        "Input files updated by another job: made/a, b=1/step2, made.txt",
    },
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "source.txt").touch()
    return tmp_path


def dry_run(folder, *options):
    """Return the status of a dry run and all that it said, as `make why` hears it."""
    return snakemake(folder, ["--dry-run", *options, "--logger", "jobs"])


@pytest.mark.parametrize(
    "options",
    [
        ("--quiet", "host", "reason", "rules"),
        ("--groups", "make=one", "tell=one"),
    ],
    ids=["quiet", "grouped"],
)
def test_jobs_are_told_in_fields(folder, options):
    status, said = dry_run(folder, *options)
    assert status == 0, said
    assert num_jobs_told(said) == {"make": 1, "tell": 1}
    jobs = json.loads(said.splitlines()[-1])["jobs"]
    assert [job for job in jobs if job["rule_name"] != "all"] == JOBS
    assert read_dry_run(said) == [
        Pending(rule, "a, b=1 step 2", "not there yet", "") for rule in ("make", "tell")
    ]


def test_jobs_by_rule_are_told_without_going_through_them(folder):
    status, said = dry_run(folder, "--quiet", "rules", "progress")
    assert status == 0, said
    assert num_jobs_told(said) == {"make": 1, "tell": 1}
    assert read_dry_run(said) == []


def test_nothing_to_do_is_no_job(folder):
    for job in JOBS:
        path = folder / job["output"][0]
        path.parent.mkdir(parents=True)
        path.touch()
    status, said = dry_run(folder)
    assert status == 0
    assert "Nothing to be done" in said
    assert read_dry_run(said) == []
    assert num_jobs_told(said) == {}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("no_such_rule",), "no dry run: .*MissingRuleException.*no_such_rule"),
        (("--profile", "no_such_profile"), "no dry run: .*no_such_profile"),
    ],
    ids=["target", "profile"],
)
def test_a_dry_run_that_failed_is_refused_in_its_words(folder, options, says):
    status, said = dry_run(folder, *options)
    assert status != 0
    with pytest.raises(UserError, match=f"(?s){says}"):
        read_dry_run(said)
