"""Every table of the workflow, as a Parquet schema.

Units are in the column names; log probabilities and entropies are in nats.
"""

from __future__ import annotations

import pyarrow as pa

PASSAGES = pa.schema(
    {
        "passage_id": pa.int32(),
        "condition": pa.string(),  # paraphrase | once
        "text_index": pa.int32(),  # 0 is the original, 1… the paraphrases
        "text": pa.string(),
    }
)
PROBES = pa.schema(
    {
        "probe_id": pa.int32(),
        "passage_id": pa.int32(),
        "condition": pa.string(),
        "kind": pa.string(),  # memorization | semantic | compositional
        "input": pa.string(),
        "target": pa.string(),
    }
)
ENCODED_PROBES = pa.schema(
    {
        "probe_id": pa.int32(),
        "passage_id": pa.int32(),
        "condition": pa.string(),
        "kind": pa.string(),
        "token_ids": pa.list_(pa.int32()),  # of "{input} {target}"
        "target_start": pa.int32(),  # 1…: place of the target's first token
    }
)
SCHEDULE = pa.schema(
    {
        "injection": pa.int32(),  # 1…num_injections
        "train_step": pa.int32(),  # 1…num_steps: the step whose batch carries the text
        "batch_row": pa.int32(),  # 0…batch_size-1
        "passage_id": pa.int32(),
        "text_index": pa.int32(),
        "condition": pa.string(),
    }
)
TRAINING = pa.schema(
    {
        "train_step": pa.int32(),
        "loss_nats": pa.float64(),
        "learning_rate": pa.float64(),
        "gradient_norm": pa.float64(),
        "num_injected_sequences": pa.int32(),
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
ENTROPY = pa.schema(
    {
        "layer": pa.int32(),  # null for the whole model
        "measure": pa.string(),  # absolute (the paper's) | positive | … | attention | next_token
        "quantity": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
TOKEN_ENTROPIES = pa.schema(
    {
        "quantity": pa.string(),  # attention | next_token
        "layer": pa.int32(),  # null for next_token
        "head": pa.int32(),  # likewise
        "group": pa.int32(),  # of instances
        "entropy_nats": pa.float64(),  # mean over the group's instances of the mean over positions
    }
)
MEMORIES = pa.schema(
    {
        "layer": pa.int32(),
        "end": pa.string(),  # most | least (active)
        "rank": pa.int32(),  # 1 is the most, or the least, active
        "memory": pa.int32(),
        "mean_absolute": pa.float64(),
        "relative_activity": pa.float64(),  # mean |c| over the layer's mean of it
        "tokens": pa.list_(pa.string()),  # promoted most, best first
        "scores": pa.list_(pa.float32()),  # memory vector · unembedding row
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
NOVELTY = pa.schema(
    {
        "corpus": pa.string(),
        "document_id": pa.string(),
        "num_tokens": pa.int32(),  # scored
        "loss_nats": pa.float64(),  # mean per token; perplexity is its exponential
    }
)
DOCUMENTS = pa.schema(
    {
        "document_id": pa.string(),
        "content_sha256": pa.string(),  # of the text, or of the raw token ids where there is none
        "first_token": pa.int64(),  # place in the written sequences, end to end; negative if before
        "num_tokens": pa.int64(),  # the end-of-text token not counted
    }
)
DECAY = pa.schema(
    {
        "condition": pa.string(),  # paraphrase | once | all
        "quantity": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
RETAINED = pa.schema(
    {
        "condition": pa.string(),
        "steps_since": pa.int32(),  # optimiser steps since the last injection's peak
        "retained": pa.float64(),  # share of the gain that is left; 1 at the peak
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
    }
)
RETENTION = pa.schema(
    {
        "task": pa.string(),  # a task, or mean (P: over tasks), or held_out
        "quantity": pa.string(),  # accuracy | bits_per_token
        "num_items": pa.int64(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
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
SUMMARY = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "variant": pa.string(),
        "recipe": pa.string(),  # null for what is measured before learning
        "seed": pa.int64(),  # null likewise
        "group": pa.string(),  # model | layer 3 | c4/model | paraphrase/semantic | sciq | …
        "quantity": pa.string(),
        "unit": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
RUNS = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "variant": pa.string(),
        "recipe": pa.string(),
        "seed": pa.int64(),
        "num_steps": pa.int64(),  # optimiser steps done
        "first_loss_nats": pa.float64(),  # null where it was no finite number, likewise the last
        "last_loss_nats": pa.float64(),
        "diverged_at_step": pa.int64(),  # null for a run that did not diverge
    }
)
CORRELATIONS = pa.schema(
    {
        "model": pa.string(),
        "recipe": pa.string(),
        "x": pa.string(),
        "y": pa.string(),
        "method": pa.string(),  # pearson | spearman
        "num_points": pa.int64(),
        "value": pa.float64(),
        "p_value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
CLAIMS = pa.schema(
    {
        "model": pa.string(),
        "recipe": pa.string(),  # null for claims about entropy alone
        "variant": pa.string(),  # null for claims about the original checkpoints
        "claim": pa.string(),
        "statement": pa.string(),
        "rule": pa.string(),
        "evidence": pa.string(),
        "verdict": pa.string(),  # supported | not supported | inconclusive
        "num_points": pa.int64(),
        "unit": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
CURVES = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "variant": pa.string(),
        "recipe": pa.string(),
        "seed": pa.int64(),
        "moment": pa.string(),
        "train_step": pa.int32(),
        "condition": pa.string(),
        "performance": pa.float64(),
    }
)
DISTRIBUTIONS = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "variant": pa.string(),
        "layer": pa.int32(),
        "quantile": pa.float64(),
        "relative_activity": pa.float64(),  # mean |c| over the layer's mean of it
    }
)
CHECKPOINTS = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "source": pa.string(),  # directory | gguf | hub | nursery
        "place": pa.string(),  # path, or repository@commit
        "architecture": pa.string(),
        "num_layers": pa.int32(),
        "num_memories": pa.int64(),
        "num_parameters": pa.int64(),
        "weights_sha256": pa.string(),  # over names, dtypes, shapes and values of all tensors
        "same_weights_as": pa.int64(),  # the first other step with equal weights; null for none
    }
)
MEMORY_TABLE = pa.schema([pa.field("model", pa.string()), pa.field("step", pa.int64()), *MEMORIES])
RANKINGS = pa.schema(
    {
        "model": pa.string(),
        "step_from": pa.int64(),
        "step_to": pa.int64(),
        "layer": pa.int32(),  # null: mean over layers
        "spearman": pa.float64(),  # between the rankings by mean |c|
        "most_active_kept": pa.float64(),  # share of the most active set still in it
        "least_active_kept": pa.float64(),
    }
)
NOVELTY_QUANTILES = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "corpus": pa.string(),
        "quantile": pa.float64(),
        "perplexity": pa.float64(),
    }
)
RETAINED_CURVES = pa.schema(
    [
        pa.field("model", pa.string()),
        pa.field("step", pa.int64()),
        pa.field("variant", pa.string()),
        pa.field("recipe", pa.string()),
        pa.field("seed", pa.int64()),
        *RETAINED,
    ]
)


def sequences_schema(sequence_length_tokens: int) -> pa.Schema:
    """Packed token sequences: one fixed-size list of token ids per row."""
    return pa.schema({"input_ids": pa.list_(pa.int32(), sequence_length_tokens)})


def coefficients_schema(num_groups: int) -> pa.Schema:
    """One row per memory: moments of its coefficient c over tokens, then over instances."""
    return pa.schema(
        {
            "layer": pa.int32(),
            "memory": pa.int32(),
            "mean_absolute": pa.float64(),
            "mean": pa.float64(),
            "mean_square": pa.float64(),
            "active_fraction": pa.float64(),
            "memory_norm": pa.float64(),  # ‖v‖ of the memory vector
            "group_mean_absolute": pa.list_(pa.float64(), num_groups),
            "group_mean": pa.list_(pa.float32(), num_groups),
            "group_mean_relu_gate": pa.list_(pa.float32(), num_groups),  # null unless asked for
            "group_mean_attribution": pa.list_(pa.float32(), num_groups),  # likewise
        }
    )


SHARD_TERMS = ("absolute", "signed", "square", "active", "relu_gate", "attribution")
"""What a shard holds of a coefficient: columns ``group_mean_{term}``."""

SHARD_COEFFICIENTS = pa.schema(
    {
        "layer": pa.int32(),
        "memory": pa.int32(),
        "memory_norm": pa.float64(),
        # by group of the shard, which are fewer for attribution; null unless asked for
        **{f"group_mean_{term}": pa.list_(pa.float64()) for term in SHARD_TERMS},
    }
)
SHARD_TOKEN_ENTROPIES = pa.schema(
    {
        "quantity": pa.string(),  # attention | next_token
        "layer": pa.int32(),  # null for next_token
        "head": pa.int32(),  # likewise
        "entropies_nats": pa.list_(pa.float64()),  # mean over positions, by instance of the shard
    }
)
