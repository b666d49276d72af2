"""How many bytes jobs leave on the disk: those of their tables' columns, and of models."""

from __future__ import annotations

from ke_steps.formulas.quantiles import QUANTILES
from ke_steps.planning.model_shapes import ModelShape
from ke_steps.planning.workloads import num_probe_scores
from ke_steps.settings.learning import Recipe
from ke_steps.settings.measures import ExtractCoefficients
from ke_steps.settings.study import Study

FP32_BYTES = 4
PROBE_SCORE_BYTES = 33
"""Of a row of ``PROBE_SCORES``, compressed: measured in the embedded study."""
SAVED_STATE_WEIGHTS = 3
"""A saved state of training in units of the model: weights and the optimiser's two moments."""


def shard_bytes(extract: ExtractCoefficients, shape: ModelShape) -> int:
    """Columns of ``SHARD_COEFFICIENTS``: all terms in fp64, by group of the shard."""
    terms = 4 + extract.relu_gate + bool(extract.num_attribution_sequences)
    groups = extract.num_groups // extract.num_shards * terms * 8
    return shape.num_layers * shape.num_memories * (2 * 4 + 8 + groups)


def coefficients_bytes(extract: ExtractCoefficients, shape: ModelShape) -> int:
    """Columns of ``coefficients_schema``; Parquet's own coding hardly shortens them."""
    columns = 2 * 4 + 5 * 8
    groups = extract.num_groups * (
        8 + 4 * (1 + extract.relu_gate + bool(extract.num_attribution_sequences))
    )
    return shape.num_layers * shape.num_memories * (columns + groups)


def entropies_bytes(study: Study, shape: ModelShape) -> int:
    """Columns of ``ACTIVITY`` and ``DISTRIBUTION``, and a row of replicates for each entropy."""
    extract = study.extract_coefficients
    activity = shape.num_layers * shape.num_memories * (2 * 4 + 8)
    distribution = shape.num_layers * len(QUANTILES) * (4 + 2 * 8)
    extracted = (extract.num_attribution_sequences, extract.num_attention_sequences)
    measures = 3 + extract.relu_gate + sum(map(bool, extracted))
    entropies = measures * (shape.num_layers + 1) + bool(extract.num_next_token_sequences)
    return activity + distribution + entropies * study.aggregate_entropy.num_bootstrap * 8


def learning_bytes(study: Study, recipe: Recipe, shape: ModelShape) -> int:
    """Columns of ``UPDATES``, and rows of ``PROBE_SCORES``."""
    update_map = shape.num_layers * shape.num_memories * (2 * 4 + 4 * 8)
    return update_map + num_probe_scores(study, recipe) * PROBE_SCORE_BYTES


def saved_states_bytes(shape: ModelShape) -> int:
    """Return what a training saves to go on from: the last state, and the next one as well."""
    return 2 * SAVED_STATE_WEIGHTS * FP32_BYTES * shape.num_parameters
