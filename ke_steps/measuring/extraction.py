"""What an extraction does with a checkpoint: load it, run it over the corpus, sum up.

Several processes may share the work (see ``measuring.instances``): what is returned is the same on
all ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ke_steps.artefacts.sequences import read_sequences
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.measuring.attention_entropies import AttentionEntropies
from ke_steps.measuring.attributions import measure_attributions
from ke_steps.measuring.instances import (
    WHOLE,
    Instances,
    Shard,
    batch_places,
    count_tokens,
    gather_instances,
    own_share,
)
from ke_steps.measuring.measures import Array, Measures
from ke_steps.measuring.moments import GroupMeans, coefficient_terms, rounded_down
from ke_steps.measuring.token_entropies import mean_next_token_entropies
from ke_steps.models import ranks
from ke_steps.models.feed_forward import Coefficients, FeedForward, feed_forward
from ke_steps.models.loading import load_model, prepare_torch
from ke_steps.models.precision import products
from ke_steps.settings.measures import ExtractCoefficientsJob
from ke_steps.settings.texts import MOST_SEQUENCES
from ke_steps.settings.types import Precision
from ke_steps.summary.agreements import NOTE
from ke_steps.texts.tokenizers import Tokenizer, load_tokenizer

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
}
"""Of parameters, by precision."""

NUM_COMPONENTS = 16
"""Of memory vectors, squared at a time, so that they stay in a CPU's cache."""


def measure(
    checkpoint: Path,
    sequences: Path,
    intervention: Path | None,
    settings: ExtractCoefficientsJob,
    shard: Shard = WHOLE,
) -> Measures:
    """Measure coefficients, attention and predictions of a checkpoint over a shard of a corpus.

    Raises:
        UserError: the inputs do not fit each other, or a measure is not finite.
    """
    device = prepare_torch(settings.num_threads)
    tokenizer = load_tokenizer(checkpoint.parent)

    def measured(*parts: tuple[ExtractCoefficientsJob, Shard]) -> list[Measures]:
        precision = parts[0][0].precision
        model = load_model(
            checkpoint, intervention=intervention, dtype=DTYPES[precision], device=device
        )
        with products(device, precision):
            return [measure_loaded(model, tokenizer, sequences, *part) for part in parts]

    if not settings.compare_with_fp32:
        return measured((settings, shard))[0]
    few = sample_of(settings)
    measures, lower = measured((settings, shard), (few, WHOLE))
    (full,) = measured((few.model_copy(update={"precision": "fp32"}), WHOLE))
    provenance.note(NOTE, difference_to_fp32(lower, full, few))
    return measures


def sample_of(settings: ExtractCoefficientsJob) -> ExtractCoefficientsJob:
    """Return the extraction of mean |c| from the first sequences, one in each group."""
    others = ("attribution", "attention", "next_token")
    nothing: dict[str, Any] = {f"num_{each}_sequences": 0 for each in others}
    only = {"num_sequences": settings.num_groups, "relu_gate": False}
    return settings.model_copy(update=nothing | only)


def difference_to_fp32(
    lower: Measures, full: Measures, settings: ExtractCoefficientsJob
) -> Mapping[str, Any]:
    """Return by how much H, the sum over layers, differs, as a table's provenance tells it."""
    from scipy import stats

    # not of formulas.entropy: a new measure there would make every extraction run again
    of_lower, of_full = (
        float(stats.entropy(each.coefficients["absolute"].mean(axis=1), axis=1).sum())
        for each in (lower, full)
    )
    return {
        "precision": settings.precision,
        "num_sequences": settings.num_sequences,
        "num_layers": len(full.memory_norms),
        "entropy_nats": of_lower - of_full,
    }


def measure_loaded(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    sequences: Path,
    settings: ExtractCoefficientsJob,
    shard: Shard = WHOLE,
) -> Measures:
    """Measure a model that is in memory, in evaluation mode and on its device, as ``measure``.

    Args:
        model: whose parameters are of ``settings.precision``.
        tokenizer: which made the sequences.
        sequences: of the corpus.
        settings: of the extraction.
        shard: of the corpus.

    Raises:
        UserError: the inputs do not fit each other, or a measure is not finite.
    """
    input_ids = read_sequences(sequences, vocab_size=model.config.vocab_size)
    num_sequences = settings.num_sequences or whole_groups(len(input_ids), settings)
    check_sequences(input_ids, sequences, num_sequences, model.config.max_position_embeddings)
    input_ids = input_ids[:num_sequences]
    num_tokens = count_tokens(input_ids, tokenizer)

    def first(count: int) -> Instances:
        return gather_instances(
            input_ids[:count],
            num_tokens[:count],
            padding=settings.padding,
            num_groups=settings.num_groups,
        )

    measures = measure_in_one_pass(model, first(num_sequences), settings, shard)
    if settings.num_attribution_sequences:
        measures.coefficients["attribution"] = measure_attributions(
            model,
            first(settings.num_attribution_sequences),
            batch_size_sequences=settings.batch_size_sequences,
            num_groups=settings.num_groups,
            shard=shard,
        )
    return measures


def whole_groups(available: int, settings: ExtractCoefficientsJob) -> int:
    """Return how many of a corpus's sequences are measured where the study names no number.

    Raises:
        UserError: they are too few for the groups, or for what was asked of some of them.
    """
    number = min(available, MOST_SEQUENCES) // settings.num_groups * settings.num_groups
    needed = max(
        settings.num_groups,
        settings.num_attribution_sequences,
        settings.num_attention_sequences,
        settings.num_next_token_sequences,
    )
    if number < needed:
        raise UserError(
            f"corpora.{settings.corpus}: {available} sequences are too few, as extract_coefficients"
            f" asks for {needed}: give more text, or lower num_groups there or the corpus's"
            " sequence_length_tokens"
        )
    return number


def check_sequences(
    input_ids: NDArray[np.int32], path: Path, num_sequences: int, limit_tokens: int
) -> None:
    """Refuse a corpus with too few sequences, or longer ones than the model has positions."""
    rows, length = input_ids.shape
    if num_sequences > rows:
        raise UserError(
            f"extract_coefficients.num_sequences: {num_sequences} is more than the {rows}"
            f" sequences of {path}"
        )
    if length > limit_tokens:
        raise UserError(
            f"{path}: sequences of {length} tokens, the model takes at most {limit_tokens}"
            " (max_position_embeddings)"
        )


@torch.inference_mode()
def measure_in_one_pass(
    model: PreTrainedModel,
    instances: Instances,
    settings: ExtractCoefficientsJob,
    shard: Shard = WHOLE,
) -> Measures:
    """Run the body of the model over a shard; memory does not grow with the number of instances.

    The model is in evaluation mode, on its device. The output layer runs only for next-token
    entropies.

    Raises:
        UserError: a coefficient is not finite.
    """
    layers = feed_forward(model)
    with_relu = settings.relu_gate
    threshold = rounded_down(settings.active_threshold, model.dtype)
    terms = coefficient_terms(threshold, with_relu=with_relu)
    means = GroupMeans(terms, layers, settings.num_groups, model.device)

    def observe(observed: Coefficients) -> None:
        means.add(observed, *([] if observed.relu is None else [observed.relu]))

    ends = settings.num_attention_sequences, settings.num_next_token_sequences
    batches = batch_places(len(instances), settings.batch_size_sequences, *ends)
    share = own_share(batches, settings.num_groups, shard)
    attention = AttentionEntropies(model, ends[0])
    next_token = torch.zeros(ends[1], dtype=torch.float64, device=model.device)
    with layers.observing(observe, with_relu=with_relu):
        for place, batch in instances.in_batches(share.batches, "coefficients"):
            means.start_batch(batch)
            num_tokens = batch.num_tokens.tolist()
            wanted = place.start < ends[0]
            with attention.recording(place, num_tokens) if wanted else nullcontext():
                hidden = model.base_model(
                    input_ids=batch.input_ids.to(model.device), use_cache=False
                ).last_hidden_state
            if place.start < ends[1]:
                entropies = mean_next_token_entropies(model, hidden, num_tokens)
                next_token[place.start : place.stop] = entropies
    if ends[1]:
        ranks.add_up(next_token)
    coefficients = means.finish(len(instances))
    return Measures(
        {name: values[:, share.groups] for name, values in coefficients.items()},
        attention=attention.finish()[:, share.instances] if ends[0] else None,
        next_token=next_token.cpu().numpy()[share.instances] if ends[1] else None,
        memory_norms=memory_norms(layers),
    )


def memory_norms(layers: FeedForward) -> Array:
    """Return ‖v‖ of the memory vectors (num_layers, m), of sums in fp64.

    A few components at a time, in the same memory: as one norm, a layer on a CPU takes a hundred
    times as long.
    """
    norms = []
    for layer in range(layers.num_layers):
        vectors = layers.memory_vectors(layer).detach()
        squares = vectors.new_zeros(NUM_COMPONENTS, len(vectors), dtype=torch.float64)
        copies = torch.empty_like(squares)
        for components in vectors.T.split(NUM_COMPONENTS):
            exact = copies[: len(components)].copy_(components)
            squares[: len(exact)].addcmul_(exact, exact)
        norms.append(squares.sum(0).sqrt_())
    stacked: Array = torch.stack(norms).cpu().numpy()
    return stacked
