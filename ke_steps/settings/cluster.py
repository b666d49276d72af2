"""What the jobs of a study ask of the machines that they run on; no result depends on it."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from ke_steps.settings.types import Count, Natural, Positive, Strict

SlurmName = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_.,-]+$")]
GpuModel = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_.]+$")]


class CpuRequest(Strict):
    """What a job asks for, where that is not its rule's default."""

    num_cpus: Count | None = Field(None, description="CPU cores, where these are not its threads")
    memory_gb: Positive | None = Field(None, description="of a first attempt; twice for a second")
    runtime_minutes: Count | None = Field(
        None, description="time limit of a first attempt; twice for a second"
    )


class GpuRequest(CpuRequest):
    """What a job that can use one GPU asks for."""

    num_gpus: Annotated[int, Field(strict=True, ge=0, le=1)] | None = Field(
        None, description="0 to run without"
    )


class ManyGpusRequest(CpuRequest):
    """What a job that can use several GPUs asks for."""

    num_gpus: Natural | None = Field(
        None, description="one process per GPU, all on one node; 0 to run without"
    )


class Request(NamedTuple):
    """What a job asks for at its first attempt."""

    num_gpus: int
    memory_gb: float
    runtime_minutes: int


class Jobs(Strict):
    """What the jobs of each rule ask for, where that is not the rule's default."""

    # Every rule by its name, with its default: enough for a model of 1.5 billion parameters.
    fetch_checkpoint: Annotated[CpuRequest, Request(0, 16, 240)] = CpuRequest()
    train_tokenizer: Annotated[CpuRequest, Request(0, 4, 60)] = CpuRequest()
    prepare_corpus: Annotated[CpuRequest, Request(0, 8, 240)] = CpuRequest()
    prepare_knowledge: Annotated[CpuRequest, Request(0, 2, 60)] = CpuRequest()
    encode_probes: Annotated[CpuRequest, Request(0, 4, 60)] = CpuRequest()
    schedule_injections: Annotated[CpuRequest, Request(0, 2, 60)] = CpuRequest()
    pretrain_nursery: Annotated[ManyGpusRequest, Request(1, 16, 480)] = ManyGpusRequest()
    keep_checkpoint: Annotated[CpuRequest, Request(0, 2, 60)] = CpuRequest()
    branch_checkpoint: Annotated[ManyGpusRequest, Request(1, 48, 480)] = ManyGpusRequest()
    extract_coefficients: Annotated[ManyGpusRequest, Request(1, 32, 240)] = ManyGpusRequest()
    extract_shard: Annotated[ManyGpusRequest, Request(1, 32, 240)] = ManyGpusRequest()
    merge_shards: Annotated[CpuRequest, Request(0, 16, 60)] = CpuRequest()
    aggregate_entropy: Annotated[CpuRequest, Request(0, 2, 60)] = CpuRequest()
    describe_memories: Annotated[GpuRequest, Request(1, 32, 120)] = GpuRequest()
    measure_rivals: Annotated[GpuRequest, Request(1, 32, 240)] = GpuRequest()
    evaluate_novelty: Annotated[GpuRequest, Request(1, 32, 120)] = GpuRequest()
    intervene: Annotated[CpuRequest, Request(0, 2, 60)] = CpuRequest()
    inject_knowledge: Annotated[ManyGpusRequest, Request(1, 48, 720)] = ManyGpusRequest()
    evaluate_knowledge: Annotated[CpuRequest, Request(0, 2, 60)] = CpuRequest()
    fit_decay: Annotated[CpuRequest, Request(0, 2, 60)] = CpuRequest()
    aggregate_updates: Annotated[CpuRequest, Request(0, 2, 60)] = CpuRequest()
    evaluate_retention: Annotated[GpuRequest, Request(1, 32, 240)] = GpuRequest()
    evaluate_retention_after_learning: Annotated[GpuRequest, Request(1, 32, 240)] = GpuRequest()
    summarize: Annotated[CpuRequest, Request(0, 16, 240)] = CpuRequest()
    plot_figures: Annotated[CpuRequest, Request(0, 8, 120)] = CpuRequest()
    write_report: Annotated[CpuRequest, Request(0, 8, 120)] = CpuRequest()


def _refuse_unknown_rule(rule: str) -> str:
    if rule in Jobs.model_fields:
        return rule
    close = difflib.get_close_matches(rule, Jobs.model_fields, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"no rule {rule!r}; {hint}rules: {', '.join(Jobs.model_fields)}")


RuleName = Annotated[
    str,
    Field(strict=True, json_schema_extra={"enum": list(Jobs.model_fields)}),
    AfterValidator(_refuse_unknown_rule),
]


class Cluster(Strict):
    """What jobs ask of their machine; a change reruns nothing."""

    account: SlurmName | None = Field(None, description="that is charged; null: the cluster's way")
    cpu_partition: SlurmName | None = Field(None, description="of jobs without a GPU")
    gpu_partition: SlurmName | None = Field(None, description="of jobs with GPUs")
    gpu_model: GpuModel | None = Field(None, description="as the cluster calls it, such as a100")
    sharding: Literal["ddp", "fsdp"] = Field(
        "ddp", description="on several GPUs: a whole model on each, or one model in parts"
    )
    local_rules: list[RuleName] = Field(
        default_factory=list, description="rules whose jobs run where the workflow was started"
    )
    jobs: Jobs = Jobs()
