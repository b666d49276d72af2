"""Tables of texts and new knowledge, as Parquet schemas.

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
        "token_ids": pa.list_(pa.int32()),  # of "{input} {target}", begun as texts are
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
        "num_tokens": pa.int64(),  # begin-of-text counted, end-of-text not
    }
)


def sequences_schema(sequence_length_tokens: int) -> pa.Schema:
    """Packed token sequences: one fixed-size list of token ids per row."""
    return pa.schema({"input_ids": pa.list_(pa.int32(), sequence_length_tokens)})
