"""Tables of what a checkpoint learns and forgets, as Parquet schemas.

Units are in the column names; log probabilities are in nats.
"""

from __future__ import annotations

import pyarrow as pa

TRAINING = pa.schema(
    {
        "train_step": pa.int32(),
        "loss_nats": pa.float64(),
        "learning_rate": pa.float64(),
        "gradient_norm": pa.float64(),
        "num_injected_sequences": pa.int32(),
        "contribution_normalized_entropy": pa.float64(),  # of the batch; null without a dose
    }
)

PROBE_SCORES = pa.schema(
    {
        "moment": pa.string(),  # start | before | after (an injection) | later | end
        "injection": pa.int32(),  # null at start and end
        "train_step": pa.int32(),  # optimiser steps done
        "probe_id": pa.int32(),
        "passage_id": pa.int32(),
        "condition": pa.string(),
        "kind": pa.string(),
        "num_target_tokens": pa.int32(),
        "log_probability_sum": pa.float64(),
        "log_probability_per_token": pa.float64(),
        "log_probability_reference_padded": pa.float64(),
        "log_probability_first_token": pa.float64(),
        "exact_match": pa.bool_(),
    }
)

UPDATES = pa.schema(
    {
        "layer": pa.int32(),
        "memory": pa.int32(),
        "memory_norm": pa.float64(),  # ‖v‖ before learning
        "key_norm": pa.float64(),  # ‖k‖: of all rows that produce the coefficient, joined
        "memory_change": pa.float64(),  # ‖v after - v before‖
        "key_change": pa.float64(),
    }
)

UPDATE_STATISTICS = pa.schema(
    {
        "layer": pa.int32(),  # null for the whole model
        "vector": pa.string(),  # memory | key
        "quantity": pa.string(),
        "value": pa.float64(),
    }
)

DECAY = pa.schema(
    {
        "condition": pa.string(),  # paraphrase | once | all
        "quantity": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
        "num_items": pa.int64(),  # passages
    }
)

RETAINED = pa.schema(
    {
        "condition": pa.string(),
        "steps_since": pa.int32(),  # optimiser steps since the last injection's peak
        "retained": pa.float64(),  # share of the gain left, mean over who is followed so long
        "low": pa.float64(),
        "high": pa.float64(),
    }
)

KNOWLEDGE = pa.schema(
    {
        "condition": pa.string(),  # paraphrase | once | all
        "kind": pa.string(),  # memorization | semantic | compositional | all
        "quantity": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
        "num_items": pa.int64(),  # passages
    }
)

RETENTION = pa.schema(
    {
        "task": pa.string(),  # a task, or mean (P: over tasks), or held_out
        "quantity": pa.string(),  # accuracy | chance | bits_per_token
        "value": pa.float64(),
        "low": pa.float64(),  # null for chance
        "high": pa.float64(),
        "num_items": pa.int64(),  # questions, or sequences
    }
)

RETENTION_ITEMS = pa.schema(
    {
        "task": pa.string(),
        "item": pa.int32(),
        "num_choices": pa.int32(),
        "label": pa.int32(),
        "prediction": pa.int32(),
        "correct": pa.bool_(),
    }
)

CONDITIONS = ("paraphrase", "once", "all")
"""Passages injected again and again in other words, passages injected once, and both."""
