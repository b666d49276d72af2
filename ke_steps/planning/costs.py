"""Every job of a study, and what it costs: training tokens, arithmetic, downloads, disk.

Jobs and training tokens are exact; the rest is an estimate (see ``planning.workloads``,
``planning.model_shapes``) that leaves out small files and statistics on the CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ke_steps.artefacts.places import FETCHED, PASSAGES, SEQUENCES, SHARD
from ke_steps.planning.model_shapes import ModelShape
from ke_steps.planning.model_sizes import ModelSize
from ke_steps.planning.planned_jobs import SCORING, PlannedJob, Work
from ke_steps.planning.workloads import (
    description_flops,
    extraction_flops,
    novelty_flops,
    pretraining_tokens,
    probing_flops,
    retention_flops,
    rivals_flops,
)
from ke_steps.planning.written import (
    FP32_BYTES,
    SAVED_STATE_WEIGHTS,
    coefficients_bytes,
    entropies_bytes,
    learning_bytes,
    saved_states_bytes,
    shard_bytes,
)
from ke_steps.settings.checkpoints import GgufSource, HubSource
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.study import Run, Study
from ke_steps.settings.texts import HubDatasetText, PublishedKnowledge, TokenFileText
from ke_steps.study.places import (
    Checkpoint,
    Measurement,
    Places,
    Preparation,
    folder_of,
    models_of,
    places,
    preparations,
    schedules,
    speakers,
)
from ke_steps.study.presets import expand, expand_knowledge

TEXT_BYTES_PER_TOKEN = 5
"""Of English: 4.9 in FICTIONAL KNOWLEDGE by OLMo's tokenizer. Compressed text takes less."""

TOKEN_ID_BYTES = 4

Sizes = Mapping[str, ModelSize]
"""The size of each model of the study; ``UNKNOWN``, which costs nothing, where nothing tells it."""


@dataclass
class Cost:
    """The sum over jobs."""

    num_jobs: int = 0
    training_tokens: int = 0
    flops: Counter[Work] = field(default_factory=Counter)
    download_bytes: float = 0
    disk_bytes: float = 0

    def add(self, job: PlannedJob) -> None:
        """Count one more job."""
        self.num_jobs += 1
        self.training_tokens += job.training_tokens
        self.flops.update(job.flops)
        self.download_bytes += job.download_bytes
        self.disk_bytes += job.disk_bytes


def costs_by_rule(jobs: Iterable[PlannedJob]) -> dict[str, Cost]:
    """Return what the jobs of each rule cost together, in the order in which rules appear."""
    costs: dict[str, Cost] = {}
    for job in jobs:
        costs.setdefault(job.rule, Cost()).add(job)
    return costs


def jobs(study: Study, sizes: Sizes) -> Iterator[PlannedJob]:
    """Yield every job that a study takes from nothing, in the order of the workflow."""
    for job in _jobs(study, sizes):
        is_nursery = job.rule == "pretrain_nursery"
        threads = study.nurseries[job.place].num_threads if is_nursery else study.num_threads
        yield replace(job, num_cores=threads) if job.flops else job


def _jobs(study: Study, sizes: Sizes) -> Iterator[PlannedJob]:
    there = places(study)
    for model in speakers(study, study.nurseries):
        yield PlannedJob("train_tokenizer", model)
    for model in study.nurseries:
        yield _pretraining(study, model, sizes[model].shape)
    for checkpoint in there.nursery_checkpoints:
        weights = FP32_BYTES * sizes[checkpoint.model].shape.num_parameters
        yield PlannedJob("keep_checkpoint", folder_of(checkpoint), disk_bytes=weights)
    for checkpoint in there.fetched_checkpoints:
        yield _fetch(study, checkpoint, sizes[checkpoint.model])
    for checkpoint in there.branched_checkpoints:
        yield _branch(study, checkpoint, sizes[checkpoint.model].shape)
    for preparation in preparations(study):
        yield _preparation(study, preparation)
    if there.runs:
        yield _knowledge(study)
    for model in speakers(study, models_of(there.runs)):
        yield PlannedJob("encode_probes", model)
    for schedule in schedules(study):
        yield PlannedJob("schedule_injections", folder_of(schedule))
    yield from _measuring_jobs(study, there, sizes)
    for run in there.runs:
        yield from _run_jobs(study, there, run, sizes[run.model].shape)
    for rule in ("summarize", "plot_figures", "write_report"):
        yield PlannedJob(rule)


def _pretraining(study: Study, model: str, shape: ModelShape) -> PlannedJob:
    """A state that is kept is a checkpoint and, after the first step, weights and two moments."""
    tokens, length = pretraining_tokens(study, model)
    steps = {*study.models[model].steps, study.nurseries[model].num_steps}
    num_kept = len(steps) + SAVED_STATE_WEIGHTS * len(steps - {0})
    return PlannedJob(
        "pretrain_nursery",
        model,
        training_tokens=tokens,
        flops={Work("training", "fp32"): shape.training_flops(tokens, length)},
        disk_bytes=num_kept * FP32_BYTES * shape.num_parameters,
        passing_bytes=saved_states_bytes(shape),
    )


def _branch(study: Study, checkpoint: Checkpoint, shape: ModelShape) -> PlannedJob:
    branch = study.branches[checkpoint.model]
    length = study.corpora[branch.corpus].sequence_length_tokens
    tokens = branch.num_steps * branch.batch_size_sequences * length
    return PlannedJob(
        "branch_checkpoint",
        folder_of(checkpoint),
        training_tokens=tokens,
        flops={Work("training", branch.precision): shape.training_flops(tokens, length)},
        disk_bytes=FP32_BYTES * shape.num_parameters,
        passing_bytes=saved_states_bytes(shape),
    )


def _fetch(study: Study, checkpoint: Checkpoint, size: ModelSize) -> PlannedJob:
    """Hub weights lie in the cache, GGUF weights are dequantised, a directory's are linked."""
    source = study.models[checkpoint.model].source
    weights = size.shape.num_parameters * size.bytes_per_parameter
    done = Path(study.results_dir, FETCHED.format(**checkpoint._asdict()))
    return PlannedJob(
        "fetch_checkpoint",
        folder_of(checkpoint),
        download_bytes=weights if isinstance(source, HubSource) and not done.is_file() else 0,
        disk_bytes=weights if isinstance(source, HubSource | GgufSource) else 0,
    )


def _preparation(study: Study, preparation: Preparation) -> PlannedJob:
    corpus = study.corpora[preparation.corpus]
    length = corpus.sequence_length_tokens
    match expand(corpus.source):
        case HubDatasetText():
            bytes_per_token = TEXT_BYTES_PER_TOKEN
        case TokenFileText(location=location, dtype=dtype) if "://" in location:
            bytes_per_token = {"uint16": 2, "uint32": 4}[dtype]
        case _:
            bytes_per_token = 0
    done = Path(study.results_dir, SEQUENCES.format(**preparation._asdict()))
    drawn = 0 if done.is_file() else corpus.skip_sequences + corpus.most_sequences
    return PlannedJob(
        "prepare_corpus",
        folder_of(preparation),
        download_bytes=drawn * length * bytes_per_token,
        disk_bytes=corpus.most_sequences * length * TOKEN_ID_BYTES,
    )


def _knowledge(study: Study) -> PlannedJob:
    source = study.knowledge and expand_knowledge(study.knowledge.source)
    is_done = Path(study.results_dir, PASSAGES).is_file()
    if is_done or not isinstance(source, PublishedKnowledge) or source.folder is not None:
        return PlannedJob("prepare_knowledge")
    num_bytes = source.paraphrase.num_bytes + source.once.num_bytes
    return PlannedJob("prepare_knowledge", download_bytes=num_bytes)


def _measuring_jobs(study: Study, there: Places, sizes: Sizes) -> Iterator[PlannedJob]:
    for measurement in there.measurements:
        shape = sizes[measurement.model].shape
        yield from _extraction_jobs(study, measurement, shape)
        written = entropies_bytes(study, shape)
        yield PlannedJob("aggregate_entropy", folder_of(measurement), disk_bytes=written)
    for checkpoint in there.described_checkpoints:
        flops = description_flops(study, sizes[checkpoint.model].shape)
        yield PlannedJob("describe_memories", folder_of(checkpoint), flops={SCORING: flops})
    for state in there.assessed_states:
        work = retention_flops(study, sizes[state.model].shape)
        yield PlannedJob("evaluate_retention", folder_of(state), flops=work)
    for checkpoint in there.rival_checkpoints:
        flops = rivals_flops(study, checkpoint.model, sizes[checkpoint.model].shape)
        yield PlannedJob("measure_rivals", folder_of(checkpoint), flops={SCORING: flops})
    for checkpoint in there.novelty_checkpoints:
        work = novelty_flops(study, sizes[checkpoint.model].shape)
        yield PlannedJob("evaluate_novelty", folder_of(checkpoint), flops=work)
    for state in there.states:
        if state.variant != ORIGINAL:
            yield PlannedJob("intervene", folder_of(state))


def _extraction_jobs(
    study: Study, measurement: Measurement, shape: ModelShape
) -> Iterator[PlannedJob]:
    extract, place = study.extract_coefficients, folder_of(measurement)
    flops = extraction_flops(study, measurement.corpus, shape) / extract.num_shards
    work = {Work("forward", extract.precision): flops}
    written = coefficients_bytes(extract, shape)
    if extract.num_shards == 1:
        yield PlannedJob("extract_coefficients", place, flops=work, disk_bytes=written)
        return
    for shard in range(extract.num_shards):
        part = SHARD.format(**measurement._asdict(), shard=shard)
        written_by_shard = shard_bytes(extract, shape)
        yield PlannedJob("extract_shard", part, flops=work, disk_bytes=written_by_shard)
    yield PlannedJob("merge_shards", place, disk_bytes=written)


def _run_jobs(study: Study, there: Places, run: Run, shape: ModelShape) -> Iterator[PlannedJob]:
    recipe, place = study.recipes[run.recipe], folder_of(run)
    length = study.corpora[recipe.corpus].sequence_length_tokens
    tokens = recipe.num_steps * recipe.batch_size_sequences * length
    weights, is_kept = FP32_BYTES * shape.num_parameters, study.keeps_model(run)
    training = shape.training_flops(tokens, length)
    is_split = recipe.micro_batch_size_sequences < recipe.batch_size_sequences
    if recipe.contribution_entropy_weight and is_split:
        training += shape.body_flops(tokens, length)  # the pass that sums up the whole batch
    yield PlannedJob(
        "inject_knowledge",
        place,
        training_tokens=tokens,
        flops={
            Work("training", recipe.precision): training,
            Work("forward", recipe.precision): probing_flops(study, recipe, shape),
        },
        disk_bytes=learning_bytes(study, recipe, shape) + is_kept * weights,
        passing_bytes=saved_states_bytes(shape) + (not is_kept) * weights,
    )
    yield PlannedJob("evaluate_knowledge", place)
    if run in there.decaying_runs:
        yield PlannedJob("fit_decay", place)
    yield PlannedJob("aggregate_updates", place)
    if run in there.assessed_runs:
        flops = retention_flops(study, shape)
        yield PlannedJob("evaluate_retention_after_learning", place, flops=flops)
