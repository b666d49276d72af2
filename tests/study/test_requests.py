"""What jobs ask for: by default, changed by the study, and on another attempt."""

import ast
import inspect
import re
import shlex
from types import SimpleNamespace

import pytest
import yaml
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from ke_steps.job.errors import UserError
from ke_steps.settings.cluster import Cluster, Jobs
from ke_steps.study.jobs import EXTRAS, settings_for
from ke_steps.study.reading import read_study
from ke_steps.study.requests import (
    DEFAULTS,
    GROUPS,
    SIDE_BY_SIDE,
    group,
    launcher,
    refuse_fewer_gpus,
    resources,
)
from tests.invented.project import ROOT

TORCHRUN = "torchrun --standalone --nproc-per-node"
RULES = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
PROFILE = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())


def rules():
    """Return {rule: its text} of the workflow."""
    blocks = re.split(r"^ *(?=(?:use )?rule \w)", RULES, flags=re.MULTILINE)[1:]
    return {re.match(r"(?:use rule \w+ as|rule) (\w+)", block)[1]: block for block in blocks}


def asked(rule, attempt=1, threads=1, **cluster):
    """Return the resources of a rule as Snakemake would see them."""
    known = {"wildcards": {}, "attempt": attempt, "threads": threads}
    found = resources(Cluster.model_validate(cluster), rule)
    return {
        name: _evaluated(value, known) if callable(value) else value
        for name, value in found.items()
    }


def _evaluated(function, known):
    return function(**{name: known[name] for name in inspect.signature(function).parameters})


def test_every_rule_of_the_workflow_has_its_request():
    assert rules().keys() == set(Jobs.model_fields)
    for rule, text in rules().items():
        assert f'**resources_for("{rule}")' in text, rule
        if "shell:" in text:
            assert f'**params_of("{rule}")' in text, rule
            assert re.search(rf'step\(\s*"{rule}"', text), rule
        assert (f'group_of("{rule}")' in text) == (rule in GROUPS), rule


def flags_of(text):
    """Return the flags that a rule gives to its step, lists of names filled in."""
    lists = dict(re.findall(r'^(\w+) = \(?([\w "\n]+)\)?\.split\(\)$', RULES, re.MULTILINE))
    call = re.search(r"step\((.*?)\)$", text, re.DOTALL | re.MULTILINE)[1]
    flags = set(re.findall(r'(?<!=)"(\w+)"', call)[1:])
    for name in re.findall(r"\*(\w+)", call):
        flags |= set(lists[name].replace('"', "").split())
    if "{params.intervention}" in call:
        flags.add("intervention")
    if "{params.coefficients}" in call:
        flags.add("coefficients")
    if "{params.shards}" in call:
        flags |= {"coefficients", "token_entropies"}
    if "{params.results}" in call:
        flags |= set(re.findall(r'^    "(\w+)": \[', RULES, re.MULTILINE))
    return flags


def keywords_of(step):
    """Return the keywords of a step's ``run``, without importing it."""
    module = ast.parse((ROOT / f"ke_steps/{step}.py").read_text())
    (run,) = (each for each in module.body if getattr(each, "name", "") == "run")
    return {argument.arg for argument in run.args.kwonlyargs}


def test_a_rule_gives_its_step_every_flag_and_no_other():
    for rule, text in rules().items():
        if "shell:" in text:
            assert flags_of(text) | {"settings"} == keywords_of(rule), rule


def test_only_rules_that_can_use_a_gpu_may_ask_for_one():
    with_gpu = {rule for rule in DEFAULTS if "gpu" in asked(rule, gpu_model="a100")}
    assert with_gpu == {
        rule
        for rule, field in Jobs.model_fields.items()
        if "num_gpus" in field.annotation.model_fields
    }
    for rule in DEFAULTS.keys() - with_gpu:
        assert "gpu_model" not in asked(rule, gpu_model="a100"), rule


def test_a_study_changes_single_keys_of_a_request():
    jobs = {"inject_knowledge": {"num_gpus": 4, "runtime_minutes": 90}}
    cluster = {"jobs": jobs, "gpu_partition": "long", "cpu_partition": "short", "account": "me"}
    assert asked("inject_knowledge", threads=3, **cluster) == {
        "gpu": 4,
        "nodes": 1,
        "cpus_per_task": 12,
        "slurm_partition": "long",
        "slurm_account": "me",
        "mem_mb": 48_000,
        "runtime": 90,
    }
    assert asked("inject_knowledge", attempt=2, **cluster)["runtime"] == 180
    assert asked("inject_knowledge", attempt=2, **cluster)["mem_mb"] == 96_000
    assert asked("summarize", **cluster)["slurm_partition"] == "short"


def submitted(rule, threads=1, **cluster):
    """Return the options of ``sbatch`` for a rule's job, as Snakemake's plugin makes them."""
    names = asked(rule, threads=threads, **cluster)
    job = SimpleNamespace(resources=JobResources(names), threads=threads)
    words = dict.fromkeys(("run_uuid", "slurm_logfile", "comment_str"), "x")
    words |= {"account": "", "partition": "", "workdir": None}
    call = f"{get_submit_command(job, words)}{set_gres_string(job)}"
    sizes = ("--gpus", "--nodes", "--ntasks", "--cpus-per")
    return {option for option in shlex.split(call) if option.startswith(sizes)}


class JobResources(dict):
    """Resources as the plugin reads them."""

    __getattr__ = dict.__getitem__


def test_several_gpus_of_a_job_are_on_one_node():
    jobs = {"inject_knowledge": {"num_gpus": 4}}
    assert submitted("inject_knowledge", 3, jobs=jobs, gpu_model="h100") == {
        "--gpus=h100:4",
        "--nodes=1",
        "--cpus-per-task=12",
    }
    assert submitted("inject_knowledge", 3) == {"--gpus=1", "--cpus-per-task=3"}
    assert submitted("summarize") == {"--ntasks=1", "--cpus-per-task=1"}


def test_cpus_are_the_threads_unless_said_otherwise():
    assert "cpus_per_task" not in asked("inject_knowledge")
    jobs = {"inject_knowledge": {"num_gpus": 2, "num_cpus": 7}}
    assert asked("inject_knowledge", threads=3, jobs=jobs)["cpus_per_task"] == 7


def test_a_model_rule_without_a_gpu_goes_to_the_other_partition():
    cluster = {"gpu_partition": "g", "cpu_partition": "c", "gpu_model": "a100"}
    cluster["jobs"] = {"describe_memories": {"num_gpus": 0}}
    request = asked("describe_memories", **cluster)
    assert request["slurm_partition"] == "c"
    assert not {"gpu", "gpu_model"} & request.keys()


@pytest.mark.parametrize(
    ("cluster", "name"),
    [
        ({}, "memories"),
        ({"jobs": {"extract_coefficients": {"num_gpus": 2}}}, None),
        ({"local_rules": ["describe_memories"]}, None),
    ],
)
def test_steps_are_grouped_when_they_need_the_same_machine(cluster, name):
    assert group(Cluster.model_validate(cluster), "extract_coefficients") == name


def test_the_profile_bounds_the_groups_of_many_steps():
    sized = dict(pair.split("=") for pair in PROFILE["group-components"])
    assert sized.keys() == SIDE_BY_SIDE
    assert PROFILE["set-resource-scopes"] == ["side_by_side=local"]
    for rule, name in GROUPS.items():
        assert asked(rule).get("side_by_side") == (1 if name in SIDE_BY_SIDE else None), rule
        num_gpus = {DEFAULTS[each].num_gpus for each in GROUPS if GROUPS[each] == name}
        assert len(num_gpus) == 1, name


@pytest.mark.parametrize(
    ("rule", "num_gpus", "sharding", "words"),
    [
        ("summarize", 0, "fsdp", "python"),
        ("inject_knowledge", 0, "fsdp", "env CUDA_VISIBLE_DEVICES= python"),
        ("inject_knowledge", 1, "ddp", "python -m ke_steps.job.gpus 1 python"),
        ("inject_knowledge", 2, "ddp", f"python -m ke_steps.job.gpus 2 {TORCHRUN} 2"),
        (
            *("inject_knowledge", 8, "fsdp"),
            f"python -m ke_steps.job.gpus 8 env KE_STEPS_SHARDING=fsdp {TORCHRUN} 8",
        ),
    ],
)
def test_several_gpus_get_a_process_each(rule, num_gpus, sharding, words):
    assert launcher(rule, num_gpus, sharding) == words


def test_a_request_is_refused_rather_than_cut_down():
    cluster = Cluster.model_validate({"jobs": {"inject_knowledge": {"num_gpus": 4}}})
    for most in (0, 4, 8):  # with none at all, jobs compute on CPUs
        refuse_fewer_gpus(cluster, most)
    with pytest.raises(UserError, match=r"jobs\.inject_knowledge\.num_gpus: got 4, .* have 2:"):
        refuse_fewer_gpus(cluster, 2)


def test_no_job_depends_on_the_cluster():
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    other = config | {"cluster": {"account": "me", "jobs": {"summarize": {"memory_gb": 1}}}}
    wildcards = {"model": "tiny", "step": "0", "recipe": "longer", "seed": "0", "shard": "0"}
    wildcards |= {"corpus": "continual", "variant": "boost"}
    for step in EXTRAS:
        first, second = (settings_for(read_study(s), step, wildcards) for s in (config, other))
        assert first == second, step
