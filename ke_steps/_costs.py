"""Every job of a study, and what it costs: training tokens, arithmetic, downloads, disk.

Jobs and training tokens are exact; the rest is an estimate (see ``_workloads``, ``_model_shapes``)
that leaves out small files and statistics on the CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from ke_steps import _workloads
from ke_steps._corpus_presets import expand
from ke_steps._model_shapes import ModelShape
from ke_steps._model_sizes import ModelSize
from ke_steps.settings import (
    ORIGINAL,
    ExtractCoefficients,
    GgufSource,
    HubDatasetText,
    HubSource,
    NurserySource,
    TokenFileText,
)
from ke_steps.study import Run, State, Study

TEXT_BYTES_PER_TOKEN = 5
"""Of English: 4.9 in FICTIONAL KNOWLEDGE by OLMo's tokenizer. Compressed text takes less."""

TOKEN_ID_BYTES = 4
FP32_BYTES = 4

Sizes = Mapping[str, ModelSize]
"""The size of each model of the study; ``UNKNOWN``, which costs nothing, where nothing tells it."""


class Work(NamedTuple):
    """A kind of arithmetic: with the precision it decides how fast a GPU does it."""

    kind: Literal["training", "forward"]
    precision: Literal["fp32", "bf16"]


SCORING = Work("forward", "fp32")
"""Tasks, held-out text, novelty and the projection of memories."""


@dataclass(frozen=True)
class Job:
    """One job."""

    rule: str
    training_tokens: int = 0
    flops: Mapping[Work, float] = field(default_factory=dict)
    download_bytes: float = 0
    disk_bytes: float = 0


@dataclass
class Cost:
    """The sum over jobs."""

    num_jobs: int = 0
    training_tokens: int = 0
    flops: Counter[Work] = field(default_factory=Counter)
    download_bytes: float = 0
    disk_bytes: float = 0

    def add(self, job: Job) -> None:
        """Count one more job."""
        self.num_jobs += 1
        self.training_tokens += job.training_tokens
        self.flops.update(job.flops)
        self.download_bytes += job.download_bytes
        self.disk_bytes += job.disk_bytes


def costs_by_rule(jobs: Iterable[Job]) -> dict[str, Cost]:
    """Return what the jobs of each rule cost together, in the order in which rules appear."""
    costs: dict[str, Cost] = {}
    for job in jobs:
        costs.setdefault(job.rule, Cost()).add(job)
    return costs


def jobs(study: Study, sizes: Sizes) -> Iterator[Job]:
    """Yield every job that a study takes from nothing, in the order of the workflow."""
    yield from _checkpoint_jobs(study, sizes)
    yield from _corpus_jobs(study)
    yield Job("prepare_knowledge")
    for _ in dict.fromkeys(run.model for run in study.runs()):
        yield Job("encode_probes")
    for _ in dict.fromkeys((run.recipe, run.seed) for run in study.runs()):
        yield Job("schedule_injections")
    for state in study.states():
        yield from _state_jobs(study, state, sizes[state.model].shape)
    for run in study.runs():
        yield from _run_jobs(study, run, sizes[run.model].shape)
    for rule in ("summarize", "plot_figures", "write_report"):
        yield Job(rule)


def _checkpoint_jobs(study: Study, sizes: Sizes) -> Iterator[Job]:
    for name, model in study.models.items():
        if isinstance(model.source, NurserySource):
            yield Job("train_tokenizer")
            yield _pretraining(study, len(model.steps), sizes[name].shape)
        else:
            for step in model.steps:
                yield _fetch(study, name, step, sizes[name])


def _pretraining(study: Study, num_steps: int, shape: ModelShape) -> Job:
    tokens, length = _workloads.pretraining_tokens(study)
    return Job(
        "pretrain_nursery",
        training_tokens=tokens,
        flops={Work("training", "fp32"): shape.training_flops(tokens, length)},
        disk_bytes=num_steps * FP32_BYTES * shape.num_parameters,
    )


def _fetch(study: Study, model: str, step: int, size: ModelSize) -> Job:
    """Hub weights lie in the cache, GGUF weights are dequantised, a directory's are linked."""
    source = study.models[model].source
    weights = size.shape.num_parameters * size.bytes_per_parameter
    done = Path(study.results_dir) / f"fetch_checkpoint/{model}/step{step}/manifest.json"
    return Job(
        "fetch_checkpoint",
        download_bytes=weights if isinstance(source, HubSource) and not done.is_file() else 0,
        disk_bytes=weights if isinstance(source, HubSource | GgufSource) else 0,
    )


def _corpus_jobs(study: Study) -> Iterator[Job]:
    nursery, novelty = study.pretrain_nursery, study.evaluate_novelty
    for name, model in study.models.items():
        states = [state for state in study.states() if state.model == name]
        read = {corpus for state in states for corpus in study.corpora_measured(state)}
        read.add(study.evaluate_retention.held_out_corpus)
        read.update(study.recipes[run.recipe].corpus for run in study.runs() if run.model == name)
        read.update(novelty.corpora if novelty else ())
        if nursery and isinstance(model.source, NurserySource):
            read.add(nursery.corpus)
        for corpus in read:
            yield _preparation(study, name, corpus)


def _preparation(study: Study, model: str, name: str) -> Job:
    corpus = study.corpora[name]
    length = corpus.sequence_length_tokens
    match expand(corpus.source):
        case HubDatasetText():
            bytes_per_token = TEXT_BYTES_PER_TOKEN
        case TokenFileText(location=location, dtype=dtype) if "://" in location:
            bytes_per_token = {"uint16": 2, "uint32": 4}[dtype]
        case _:
            bytes_per_token = 0
    done = Path(study.results_dir) / f"prepare_corpus/{model}/{name}/sequences.parquet"
    drawn = 0 if done.is_file() else corpus.skip_sequences + corpus.num_sequences
    return Job(
        "prepare_corpus",
        download_bytes=drawn * length * bytes_per_token,
        disk_bytes=corpus.num_sequences * length * TOKEN_ID_BYTES,
    )


def _state_jobs(study: Study, state: State, shape: ModelShape) -> Iterator[Job]:
    if state.variant != ORIGINAL:
        yield Job(study.variants[state.variant].kind)
    for corpus in study.corpora_measured(state):
        yield from _extraction_jobs(study, corpus, shape)
        yield Job("aggregate_entropy")
    if state.variant == ORIGINAL and study.describe_memories:
        flops = _workloads.description_flops(study.describe_memories, shape)
        yield Job("describe_memories", flops={SCORING: flops})
    is_last = state.step == study.models[state.model].steps[-1]
    if state.variant == ORIGINAL and is_last and study.evaluate_novelty:
        flops = _workloads.novelty_flops(study, study.evaluate_novelty, shape)
        yield Job("evaluate_novelty", flops={SCORING: flops})
    yield Job("evaluate_retention", flops={SCORING: _workloads.retention_flops(study, shape)})


def _extraction_jobs(study: Study, corpus: str, shape: ModelShape) -> Iterator[Job]:
    extract = study.extract_coefficients
    flops = _workloads.extraction_flops(study, corpus, shape) / extract.num_shards
    work = {Work("forward", extract.precision): flops}
    written = _coefficients_bytes(extract, shape)
    if extract.num_shards == 1:
        yield Job("extract_coefficients", flops=work, disk_bytes=written)
        return
    for _ in range(extract.num_shards):
        yield Job("extract_shard", flops=work, disk_bytes=_shard_bytes(extract, shape))
    yield Job("merge_shards", disk_bytes=written)


def _shard_bytes(extract: ExtractCoefficients, shape: ModelShape) -> int:
    """Columns of ``_schemas.SHARD_COEFFICIENTS``: all terms in fp64, by group of the shard."""
    terms = 4 + extract.relu_gate + bool(extract.num_attribution_sequences)
    groups = extract.num_groups // extract.num_shards * terms * 8
    return shape.num_layers * shape.num_memories * (2 * 4 + 8 + groups)


def _coefficients_bytes(extract: ExtractCoefficients, shape: ModelShape) -> int:
    """Columns of ``_schemas.coefficients_schema``; Parquet's own coding hardly shortens them."""
    columns = 2 * 4 + 5 * 8
    groups = extract.num_groups * (
        8 + 4 * (1 + extract.relu_gate + bool(extract.num_attribution_sequences))
    )
    return shape.num_layers * shape.num_memories * (columns + groups)


def _run_jobs(study: Study, run: Run, shape: ModelShape) -> Iterator[Job]:
    recipe = study.recipes[run.recipe]
    length = study.corpora[recipe.corpus].sequence_length_tokens
    tokens = recipe.num_steps * recipe.batch_size_sequences * length
    update_map = shape.num_layers * shape.num_memories * (2 * 4 + 4 * 8)
    yield Job(
        "inject_knowledge",
        training_tokens=tokens,
        flops={
            Work("training", recipe.precision): shape.training_flops(tokens, length),
            Work("forward", recipe.precision): _workloads.probing_flops(study, recipe, shape),
        },
        disk_bytes=FP32_BYTES * shape.num_parameters + update_map,
    )
    yield Job("evaluate_knowledge")
    if recipe.probe_interval_steps:
        yield Job("fit_decay")
    yield Job("aggregate_updates")
    yield Job(
        "evaluate_retention_after_learning",
        flops={SCORING: _workloads.retention_flops(study, shape)},
    )
