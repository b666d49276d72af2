"""What the jobs of a study ask of the machines that they run on; no result depends on it."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

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


class Jobs(Strict):
    """What the jobs of each rule ask for, where that is not the rule's default."""

    fetch_checkpoint: CpuRequest = CpuRequest()
    train_tokenizer: CpuRequest = CpuRequest()
    prepare_corpus: CpuRequest = CpuRequest()
    prepare_knowledge: CpuRequest = CpuRequest()
    encode_probes: CpuRequest = CpuRequest()
    schedule_injections: CpuRequest = CpuRequest()
    pretrain_nursery: ManyGpusRequest = ManyGpusRequest()
    extract_coefficients: ManyGpusRequest = ManyGpusRequest()
    extract_shard: ManyGpusRequest = ManyGpusRequest()
    merge_shards: CpuRequest = CpuRequest()
    aggregate_entropy: CpuRequest = CpuRequest()
    describe_memories: GpuRequest = GpuRequest()
    evaluate_novelty: GpuRequest = GpuRequest()
    resuscitate: CpuRequest = CpuRequest()
    temper_attention: CpuRequest = CpuRequest()
    inject_knowledge: ManyGpusRequest = ManyGpusRequest()
    evaluate_knowledge: CpuRequest = CpuRequest()
    fit_decay: CpuRequest = CpuRequest()
    aggregate_updates: CpuRequest = CpuRequest()
    evaluate_retention: GpuRequest = GpuRequest()
    evaluate_retention_after_learning: GpuRequest = GpuRequest()
    summarize: CpuRequest = CpuRequest()
    plot_figures: CpuRequest = CpuRequest()
    write_report: CpuRequest = CpuRequest()


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
