"""What a job asks of its machine: GPUs, cores, memory and time; and how its processes start.

The names are those that Snakemake's SLURM executor reads. To Snakemake a change of them is no
reason to run a job again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from ke_steps.job.errors import UserError
from ke_steps.settings.cluster import Cluster, Jobs, Request

MB_PER_GB = 1000

DEFAULTS: dict[str, Request] = {
    rule: field.metadata[0] for rule, field in Jobs.model_fields.items()
}
"""What a rule's jobs ask for where the study says nothing."""

GROUPS = {
    "prepare_knowledge": "knowledge",
    "schedule_injections": "knowledge",
    "keep_checkpoint": "checkpoints_{model}",
    "extract_coefficients": "memories",
    "describe_memories": "memories",
    "intervene": "interventions_{model}_{step}",
    "aggregate_entropy": "tables",
    "evaluate_knowledge": "tables",
    "fit_decay": "tables",
    "aggregate_updates": "tables",
}
"""Rules of short steps, whose jobs a cluster gets several at a time, as one job.

A cluster's job starts when the inputs of all its steps are there, and when one step fails, all are
done again. So nothing waits for the jobs of ``tables`` but the summary, whatever checkpoint they
are of; and no training is among the groups. Nor is the summary: Snakemake would go through all of
its inputs whenever one of them is there.
"""

SIDE_BY_SIDE = frozenset({"checkpoints_{model}", "interventions_{model}_{step}", "tables"})
"""Groups of steps that do not wait for each other; the profile limits how many run at a time."""


def group(cluster: Cluster, rule: str) -> str | None:
    """Return the group of a rule's jobs, if any: steps of a group need the same kind of machine."""
    name = GROUPS.get(rule)
    members = [member for member in GROUPS if GROUPS[member] == name]
    num_gpus = {request(cluster, member).num_gpus for member in members}
    return None if len(num_gpus) > 1 or set(members) & set(cluster.local_rules) else name


def resources(cluster: Cluster, rule: str) -> dict[str, Any]:
    """Return the resources of a rule; those that are functions take Snakemake's ``attempt``."""
    asked = request(cluster, rule)
    partition = cluster.gpu_partition if asked.num_gpus else cluster.cpu_partition
    fixed = {
        "gpu": asked.num_gpus or None,
        "gpu_model": cluster.gpu_model if asked.num_gpus else None,
        "nodes": 1 if asked.num_gpus > 1 else None,  # else SLURM may spread them
        "cpus_per_task": _num_cpus(cluster, rule),
        "slurm_partition": partition,
        "slurm_account": cluster.account,
        "side_by_side": 1 if group(cluster, rule) in SIDE_BY_SIDE else None,
    }
    return {name: value for name, value in fixed.items() if value is not None} | {
        "mem_mb": _growing(round(asked.memory_gb * MB_PER_GB)),
        "runtime": _growing(asked.runtime_minutes),
    }


def request(cluster: Cluster, rule: str) -> Request:
    """Return what a rule's jobs ask for: its default, changed as the study says."""
    said = getattr(cluster.jobs, rule).model_dump(exclude={"num_cpus"}, exclude_none=True)
    return DEFAULTS[rule]._replace(**said)


def _num_cpus(cluster: Cluster, rule: str) -> int | Callable[..., int] | None:
    """Return what the study says; else the threads of all processes, or nothing if it is one."""
    num_processes = request(cluster, rule).num_gpus
    if (said := getattr(cluster.jobs, rule).num_cpus) or num_processes <= 1:
        return int(said) if said else None
    return lambda wildcards, threads: threads * num_processes


def _growing(amount: int) -> Callable[..., int]:
    return lambda wildcards, attempt: amount * attempt


def does_ahead(cluster: Cluster, rule: str, other: str) -> bool:
    """Tell whether a job may do what another one is for: both have no GPU, or one of the same."""
    num_gpus = request(cluster, rule).num_gpus
    return num_gpus <= 1 and num_gpus == request(cluster, other).num_gpus


def refuse_fewer_gpus(cluster: Cluster, most: int) -> None:
    """Refuse a limit that is lower than what a job asks for: Snakemake would cut it down unsaid.

    Args:
        cluster: of the study.
        most: that jobs may have at a time; with 0 all of them compute on CPUs.

    Raises:
        UserError: names the key and the limit.
    """
    for rule in DEFAULTS if most else ():
        asked = request(cluster, rule).num_gpus
        if asked > most:
            raise UserError(
                f"cluster.jobs.{rule}.num_gpus: got {asked}, the profile lets jobs have {most}:"
                " lower it, or raise gpu in resources of workflow/profiles/<name>/config.yaml"
            )


def launcher(rule: str, num_gpus: int, sharding: Literal["ddp", "fsdp"]) -> str:
    """Return the words before ``-m ke_steps.…``: Python, or one Python per GPU with its GPUs.

    Args:
        rule: one that runs a model sees no GPU when it has none.
        num_gpus: of one job, as Snakemake grants them: none at all where the profile says so.
        sharding: of the study's cluster.
    """
    if not num_gpus:
        return "env CUDA_VISIBLE_DEVICES= python" if DEFAULTS[rule].num_gpus else "python"
    words = [f"python -m ke_steps.job.gpus {num_gpus}"]
    if num_gpus == 1:
        words.append("python")
    else:
        words += ["env KE_STEPS_SHARDING=fsdp"] if sharding == "fsdp" else []
        words.append(f"torchrun --standalone --nproc-per-node {num_gpus}")
    return " ".join(words)
