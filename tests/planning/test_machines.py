"""What jobs need beside what they ask for, and what is warned of."""

import pytest

from ke_steps.planning.gpu_time import PEAK_FLOPS, Utilisation, longest_minutes, usual_utilisation
from ke_steps.planning.machines import (
    GPU_GIGABYTES,
    gpu_gigabytes,
    machine_lines,
    machine_table,
    planned_gpu,
)
from ke_steps.planning.memory import Memory, needs
from ke_steps.planning.model_shapes import shape_of_config
from ke_steps.planning.model_sizes import KNOWN_CONFIGS, UNKNOWN, ModelSize, find_size
from ke_steps.planning.planned_jobs import PlannedJob, Work
from ke_steps.settings.cluster import Cluster
from ke_steps.study.reading import read_study_file
from tests.invented.project import ROOT

RULE = "inject_knowledge"


def warnings(memory, minutes=1.0, *, gpu_model=None, **job):
    cluster = Cluster.model_validate({"gpu_model": gpu_model, "jobs": {RULE: job}})
    told = machine_lines(cluster, {RULE: memory}, {RULE: minutes})
    return [line for line in told if line.startswith("WARNING")]


@pytest.mark.parametrize(
    ("model", "size", "planned"),
    [
        (None, None, "H100 SXM"),
        ("a100", 80, "A100"),
        ("a100_40gb", 40, "A100"),
        ("nvidia_h100_80gb_hbm3", 80, "H100 SXM"),
        ("NVIDIA-H200", 141, "H100 SXM"),
        ("l40s", 48, "L40S"),
        ("rtx_4090", 24, "RTX 4090"),
        ("mi300", None, "H100 SXM"),
    ],
)
def test_a_gpu_is_known_by_what_clusters_call_it(model, size, planned):
    assert gpu_gigabytes(model) == size
    assert planned_gpu(model) == planned


def test_all_planned_gpus_have_memory_and_operations():
    assert GPU_GIGABYTES.keys() == PEAK_FLOPS.keys()


def test_a_request_that_is_too_small_is_one_line():
    (line,) = warnings(Memory(70e9, 59e9))
    assert line == (
        f"WARNING: {RULE} needs 59 GB of its machine, cluster.jobs.{RULE}.memory_gb is 48"
    )
    assert warnings(Memory(70e9, 59e9), memory_gb=60) == []
    (line,) = warnings(Memory(70e9, 1e9), minutes=90, runtime_minutes=60)
    assert "computes for 90 minutes on H100 SXM" in line
    assert line.endswith(f"{RULE}.runtime_minutes is 60")


def test_a_gpu_that_cannot_hold_a_job_is_told():
    (line,) = warnings(Memory(50e9, 1e9), gpu_model="a100_40gb")
    assert f"WARNING: {RULE} needs 50 GB of a GPU, a100_40gb has 40: " in line
    assert "cluster.sharding: fsdp" in line
    assert warnings(Memory(79e9, 1e9)) == []
    (line,) = warnings(Memory(81e9, 1e9))
    assert "an H100 SXM has 80" in line
    assert warnings(Memory(81e9, 1e9), minutes=1e6, num_gpus=0) == []


def test_the_table_has_needs_beside_requests():
    cluster = Cluster.model_validate({"jobs": {RULE: {"num_gpus": 4, "memory_gb": 120}}})
    needed = {RULE: Memory(41.5e9, 112e9), "describe_memories": Memory(3e9, 4e9)}
    table = machine_table(cluster, needed, {RULE: 321.0, "describe_memories": 0.0})
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert rows[0] == (RULE, "4", "41.5", "112.0", "120", "321.0", "720")


def test_gpus_of_a_job_share_its_arithmetic():
    study = read_study_file(ROOT / "config/olmo_7b.yaml", need_files=False)
    flops = {Work("training", "bf16"): 989e12 * 60}
    jobs = [PlannedJob(RULE, flops=flops), PlannedJob(RULE, flops={}), PlannedJob("summarize")]
    assert longest_minutes(study, jobs, Utilisation(0.5, 0.5)) == {RULE: pytest.approx(2 / 4)}


def test_a_large_model_trains_at_a_lower_share():
    study = read_study_file(ROOT / "config/olmo_7b.yaml", need_files=False)
    for repo, share in (("allenai/OLMo-1B-hf", 0.34), ("allenai/OLMo-7B-hf", 0.23)):
        size = ModelSize(shape_of_config(KNOWN_CONFIGS[repo]), 4, "here")
        assert usual_utilisation(study, {"olmo-7b": size}).training == share
    only_measured = study.model_copy(update={"recipes": {}, "knowledge": None})
    assert usual_utilisation(only_measured, {"olmo-7b": size}).training == 0.34


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "config").glob("*.yaml")))
def test_every_study_asks_for_what_its_jobs_need(name):
    study = read_study_file(ROOT / f"config/{name}.yaml", need_files=False)
    sizes = {model: find_size(study, model) or UNKNOWN for model in study.models}
    needed = needs(study, sizes)
    told = machine_lines(study.cluster, needed, dict.fromkeys(needed, 0.0))
    assert [line for line in told if line.startswith("WARNING")] == []
