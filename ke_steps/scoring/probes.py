"""Cloze probes: how likely a model finds the target after the input.

How a probe becomes tokens is told in ``encode_probes``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedModel

from ke_steps.scoring.spans import Span, score_spans

BATCH_SIZE_SEQUENCES = 32
REFERENCE_BATCH_SIZE = 16
"""``device_eval_batch_size`` of the reference."""


def read_spans(encoded: pd.DataFrame) -> list[Span]:
    """Return the spans of a frame of ``text_schemas.ENCODED_PROBES``."""
    return [
        Span(token_ids, int(start))
        for token_ids, start in zip(encoded["token_ids"], encoded["target_start"], strict=True)
    ]


def score_probes(
    model: PreTrainedModel,
    probes: pd.DataFrame,
    *,
    precision: Literal["fp32", "bf16"],
    allow_nan: bool = False,
) -> pd.DataFrame:
    """Score probes, a frame of ``text_schemas.ENCODED_PROBES``; log probabilities are in nats.

    With ``allow_nan`` they may be no numbers, as those of a model that diverged.

    Returns:
        The columns of ``learning_schemas.PROBE_SCORES`` that belong to a probe, in the order of
        ``probes``. ``exact_match``: each target token is the likeliest one after the true text
        before it.
    """
    spans = read_spans(probes)
    scores = score_spans(
        model,
        spans,
        batch_size_sequences=BATCH_SIZE_SEQUENCES,
        precision=precision,
        allow_nan=allow_nan,
    )
    sums = np.array([s.log_probabilities.sum(dtype=np.float64) for s in scores])
    num_targets = np.array([len(s.log_probabilities) for s in scores])
    lengths = np.array([len(span.token_ids) for span in spans])
    groups = probes["condition"] + "/" + probes["kind"]
    return probes[["probe_id", "passage_id", "condition", "kind"]].assign(
        num_target_tokens=num_targets,
        log_probability_sum=sums,
        log_probability_per_token=sums / num_targets,
        log_probability_reference_padded=reference_padded(sums, lengths, groups),
        log_probability_first_token=[float(s.log_probabilities[0]) for s in scores],
        exact_match=[bool(s.is_argmax.all()) for s in scores],
    )


def reference_padded(
    sums: NDArray[np.float64], lengths: NDArray[np.int64], groups: ArrayLike
) -> NDArray[np.float64]:
    """Return target log probabilities on the scale of the published K (FACTS, section 3).

    The reference averages the loss over a whole row of its evaluation batch, zeros outside the
    target included: 16 probes of one group, in order, padded to the longest; predictions are one
    fewer than tokens.

    Args:
        sums: summed log probability of each probe's target.
        lengths: tokens of each probe's text.
        groups: what the reference evaluates apart: condition and kind.
    """
    labels = np.asarray(groups)
    padded = np.empty(len(sums), dtype=np.float64)
    for group in np.unique(labels):
        members = np.flatnonzero(labels == group)
        for first in range(0, len(members), REFERENCE_BATCH_SIZE):
            batch = members[first : first + REFERENCE_BATCH_SIZE]
            padded[batch] = sums[batch] / (lengths[batch].max() - 1)
    return padded
