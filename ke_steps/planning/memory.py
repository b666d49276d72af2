"""How much memory a job needs at most: of each of its GPUs, and of its machine.

Estimates, from a model's shape and what its steps hold at once. What a pass keeps for its way back
is counted in numbers for each token and layer; ``tests/planning/test_memory.py`` compares it with
what torch keeps. Attention that holds all scores (Gemma 2) is left out, and other mixtures of
experts than OLMoE's and Mixtral's may take more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ke_steps.planning.costs import Sizes
from ke_steps.planning.model_shapes import ModelShape
from ke_steps.planning.written import FP32_BYTES
from ke_steps.settings.checkpoints import BranchSource, NurserySource
from ke_steps.settings.learning import Recipe
from ke_steps.settings.study import Study
from ke_steps.settings.types import Precision
from ke_steps.study.places import models_of, places
from ke_steps.study.requests import request

GPU_BASE_BYTES = 1.5e9
"""Of CUDA and its libraries."""

HOST_BASE_BYTES = 4e9
"""Of a process that has loaded Python, torch and CUDA."""

STATE_BYTES = 16
"""Of a parameter that learns: itself, its gradient and AdamW's two moments, in fp32."""

NUM_SAVED = 3
"""Weights and two moments, which a saved state has."""

HELD_LOGITS_BYTES = 16
"""Of a logit in training: the head's, its fp32 copy, log-softmax, and the gradients of them."""

CHUNK_BYTES = 2e9
"""Of the logits and terms of an evaluation, which come in chunks."""

BYTES = {"fp32": 4, "tf32": 4, "bf16": 2}


class Memory(NamedTuple):
    """What a job needs, in bytes."""

    gpu: float
    """Of each of its GPUs."""

    host: float
    """Of the machine, for all of its processes."""


class Learning(NamedTuple):
    """A training, as far as its memory depends on it."""

    precision: Precision
    micro_batch_tokens: int
    """That one GPU takes at a time."""

    corpus_tokens: int
    num_gpus: int
    is_sharded: bool


def needs(study: Study, sizes: Sizes) -> dict[str, Memory]:
    """Return what the most demanding job of each rule that runs a model needs."""
    found: dict[str, Memory] = {}
    for rule, memory in _jobs(study, sizes):
        most = found.get(rule, Memory(0, 0))
        found[rule] = Memory(max(most.gpu, memory.gpu), max(most.host, memory.host))
    return found


def _jobs(study: Study, sizes: Sizes) -> Iterator[tuple[str, Memory]]:
    """Yield every kind of job that differs in its memory, by rule."""
    for rule, model, training in _trainings(study):
        yield rule, learning_memory(sizes[model].shape, _learning(study, rule, training))
    there = places(study)
    is_whole = study.extract_coefficients.num_shards == 1
    for model, corpus in {(place.model, place.corpus) for place in there.measurements}:
        rule = "extract_coefficients" if is_whole else "extract_shard"
        yield rule, extraction_memory(study, rule, corpus, sizes[model].shape)
    for model in models_of(there.described_checkpoints):
        yield "describe_memories", scoring_memory(sizes[model].shape, 0)
    for model in models_of(there.novelty_checkpoints):
        yield "evaluate_novelty", _novelty_memory(study, sizes[model].shape)
    for model in models_of(there.rival_checkpoints):
        yield "measure_rivals", rivals_memory(study, sizes[model].shape)
    for model in {state.model for state in there.assessed_states}:
        yield "evaluate_retention", _retention_memory(study, sizes[model].shape)
    for model in {run.model for run in there.assessed_runs}:
        memory = _retention_memory(study, sizes[model].shape)
        yield "evaluate_retention_after_learning", memory


def _trainings(study: Study) -> Iterator[tuple[str, str, NurserySource | BranchSource | Recipe]]:
    """Yield the rule, the model and the settings of every kind of training."""
    for model, nursery in study.nurseries.items():
        yield "pretrain_nursery", model, nursery
    for model, branch in study.branches.items():
        yield "branch_checkpoint", model, branch
    for model, recipe in {(run.model, run.recipe) for run in places(study).runs}:
        yield "inject_knowledge", model, study.recipes[recipe]


def _learning(study: Study, rule: str, training: NurserySource | BranchSource | Recipe) -> Learning:
    text = study.corpora[training.corpus]
    num_gpus = max(1, request(study.cluster, rule).num_gpus)
    batch = training.batch_size_sequences
    precision: Precision = "fp32"
    at_once = batch
    if not isinstance(training, NurserySource):
        precision, at_once = training.precision, training.micro_batch_size_sequences
    return Learning(
        precision,
        min(at_once, max(1, batch // num_gpus)) * text.sequence_length_tokens,
        text.most_sequences * text.sequence_length_tokens,
        num_gpus,
        num_gpus > 1 and study.cluster.sharding == "fsdp",
    )


def learning_memory(shape: ModelShape, learning: Learning) -> Memory:
    """Return what a training needs.

    In bf16 autocast keeps a copy of every matrix but the embedding's. A model in parts has one
    layer whole that computes and one that comes next, and what is in no layer with its gradient;
    the sum of a whole gradient, which such a model takes where it finds room, is not counted.

    The machine holds the weights once for each process while they are read, of a model in parts
    once in all; and while a state is written, a copy of weights and moments.
    """
    number, element = shape.num_parameters, BYTES[learning.precision]
    embeddings = shape.num_embeddings * shape.hidden_size
    cast = number - (shape.num_embeddings - shape.vocab_size) * shape.hidden_size
    copies = element * cast if learning.precision == "bf16" else 0
    if learning.is_sharded:
        gathered = 2 * element * shape.num_layer_parameters + 2 * FP32_BYTES * embeddings
        weights = STATE_BYTES * number / learning.num_gpus + gathered
    else:
        # several GPUs talk about gradients in buckets of their own
        buckets = FP32_BYTES * number if learning.num_gpus > 1 else 0
        weights = STATE_BYTES * number + copies + buckets
    num_read = 1 if learning.is_sharded else learning.num_gpus
    host = FP32_BYTES * number * max(num_read, NUM_SAVED)
    kept = learning.micro_batch_tokens * (
        shape.num_layers * kept_by_training(shape, learning.precision)
        + HELD_LOGITS_BYTES * shape.vocab_size
    )
    texts = 2 * FP32_BYTES * learning.corpus_tokens  # as the file has them, and as they are read
    return Memory(
        GPU_BASE_BYTES + weights + kept,
        host + learning.num_gpus * (HOST_BASE_BYTES + texts),
    )


def kept_by_training(shape: ModelShape, precision: Precision) -> float:
    """Return the bytes that a layer keeps of a token for its way back.

    The matrices' inputs and what their outputs are made into go with their size, all else with
    that of the hidden state; in bf16, what norms and sums keep is fp32.
    """
    is_mixture = shape.num_layer_parameters > shape.num_active_layer_parameters
    of_matrices = shape.num_active_rows * (3 if is_mixture else 4 / 3)
    of_hidden = shape.hidden_size * (12 if precision == "bf16" else 5)
    return BYTES[precision] * (of_matrices + of_hidden)


def kept_by_attribution(shape: ModelShape, precision: Precision) -> float:
    """Return the bytes that a layer keeps of a token where its parameters get no gradient."""
    return BYTES[precision] * (shape.num_active_rows * 4 / 3 + shape.hidden_size * 2)


def _passing(shape: ModelShape, tokens: int, element: int) -> float:
    """Return what a pass holds that keeps nothing: a layer's numbers."""
    return tokens * element * (shape.num_active_rows * 4 / 3 + 4 * shape.hidden_size)


def extraction_memory(study: Study, rule: str, corpus: str, shape: ModelShape) -> Memory:
    """Return what measuring needs: weights, sums by group in fp64, and what a batch holds."""
    extract = study.extract_coefficients
    element = BYTES[extract.precision]
    tokens = extract.batch_size_sequences * study.corpora[corpus].sequence_length_tokens
    num_sums = 4 + extract.relu_gate + bool(extract.num_attribution_sequences)
    sums = 8 * num_sums * extract.num_groups * shape.num_layers * shape.num_memories
    held = _passing(shape, tokens, element)
    if extract.num_attribution_sequences:
        kept = tokens * shape.num_layers * kept_by_attribution(shape, extract.precision)
        held = max(held, kept)
    weights = element * shape.num_parameters
    num_gpus = max(1, request(study.cluster, rule).num_gpus)
    # an intervention is applied in fp32
    host = FP32_BYTES * shape.num_parameters + HOST_BASE_BYTES
    return Memory(GPU_BASE_BYTES + CHUNK_BYTES + weights + sums + held, num_gpus * host + sums)


def scoring_memory(shape: ModelShape, batch_tokens: int, precision: Precision = "fp32") -> Memory:
    """Return what an evaluation needs: fp32 weights, in bf16 with autocast's copies of them.

    A batch counts as fp32, as some of them are scored so in every precision.
    """
    weights = FP32_BYTES * shape.num_parameters
    copies = BYTES["bf16"] * shape.num_parameters if precision == "bf16" else 0
    held = _passing(shape, batch_tokens, FP32_BYTES)
    return Memory(GPU_BASE_BYTES + CHUNK_BYTES + weights + copies + held, HOST_BASE_BYTES + weights)


def rivals_memory(study: Study, shape: ModelShape) -> Memory:
    """Return what the rivals need: weights, noise or gradient on them, products of memories."""
    rivals = study.measure_rivals
    if rivals is None:
        raise ValueError("a study that measures rivals has the section")
    length = study.corpora[rivals.new_corpus].sequence_length_tokens
    tokens = rivals.batch_size_sequences * length
    products = 8 * shape.num_layers * min(shape.num_memories, rivals.max_memories) ** 2
    kept = tokens * (
        shape.num_layers * kept_by_training(shape, "fp32") + HELD_LOGITS_BYTES * shape.vocab_size
    )
    weights = FP32_BYTES * shape.num_parameters
    return Memory(GPU_BASE_BYTES + 3 * weights + products + kept, HOST_BASE_BYTES + weights)


def _retention_memory(study: Study, shape: ModelShape) -> Memory:
    retention = study.evaluate_retention
    if retention is None:
        raise ValueError("a study that evaluates retention has the section")
    held_out = study.corpora[retention.held_out_corpus]
    tokens = retention.batch_size_sequences * held_out.sequence_length_tokens
    return scoring_memory(shape, tokens, retention.precision)


def _novelty_memory(study: Study, shape: ModelShape) -> Memory:
    novelty = study.evaluate_novelty
    if novelty is None:
        raise ValueError("a study that evaluates novelty has the section")
    tokens = novelty.batch_size_sequences * novelty.max_document_tokens
    return scoring_memory(shape, tokens, novelty.precision)
