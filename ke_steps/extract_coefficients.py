"""Measure the memory coefficients of a checkpoint over a corpus, and how it attends and predicts.

Reads: a checkpoint's manifest, a table of packed sequences, optionally an intervention.
Writes ``output``: Parquet, one row per (layer, memory) (``_schemas.coefficients_schema``):

- ``mean_absolute``: mean over instances of the mean over tokens of |c| (paper, section 3:
  C̄ˡ = 1/|D| Σₙ 1/Tₙ Σⱼ |Cˡₙⱼ|), fp64;
- ``mean``, ``mean_square``: likewise of c and c²;
- ``active_fraction``: likewise of [|c| > active_threshold];
- ``memory_norm``: ‖v‖ of the memory vector, fp64;
- ``group_mean_absolute`` fp64, ``group_mean`` fp32: ``mean_absolute`` and ``mean`` of each of
  ``num_groups`` contiguous groups of instances of equal size;
- ``group_mean_relu_gate`` fp32: likewise of |c| with ReLU in place of the layer's activation;
- ``group_mean_attribution`` fp32: likewise of |c · ∂L/∂c|, L the sum of the instance's next-token
  losses in nats. Both are null unless asked for.

Writes ``output_token_entropies``: Parquet, one row per (quantity, layer, head, group)
(``_schemas.TOKEN_ENTROPIES``): the entropy of attention rows over the first
``num_attention_sequences``, that of next-token distributions over the first
``num_next_token_sequences``; in nats, mean over the positions before padding, then over instances.

Everything comes from one pass over the corpus, attributions from a second one with gradients.

Padding is the run of pad tokens at the end of a sequence, where the tokenizer names a ``pad_token``
other than its end-of-text token; ``padding: exclude`` leaves it out. ``padding: reference`` counts
as the reference code does: for coefficients pads are tokens, and *sums* over tokens are averaged
over instances, so every mean of coefficients is larger by the sequence length.

Example::

    python -m ke_steps.extract_coefficients --checkpoint step100/manifest.json \
        --sequences corpus.parquet --output coefficients.parquet \
        --output-token-entropies token_entropies.parquet --settings '{"corpus": "world",
        "num_sequences": 64, "batch_size_sequences": 8, "precision": "fp32",
        "active_threshold": 0.1, "num_groups": 16, "num_attention_sequences": 16,
        "num_next_token_sequences": 16, "num_attribution_sequences": 16, "num_threads": 1}'
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from ke_steps import _cli, _models, _schemas, _sequences, _tables
from ke_steps._attention_entropy import AttentionEntropies
from ke_steps._attributions import measure_attributions
from ke_steps._errors import UserError
from ke_steps._feed_forward import Coefficients, FeedForward, feed_forward
from ke_steps._instances import Instances, count_tokens, gather_instances
from ke_steps._moments import GroupMeans, coefficient_terms
from ke_steps._next_token_entropy import mean_next_token_entropies
from ke_steps._tokenizers import load_tokenizer
from ke_steps.settings import ExtractCoefficientsJob

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

Array = NDArray[np.float64]


class Measures(NamedTuple):
    """What one pass over the corpus gives."""

    coefficients: dict[str, Array]
    """Of each term of ``_moments.coefficient_terms``: (num_layers, num_groups, m)."""

    attention: Array | None
    """Entropies in nats (num_layers, num_heads, num_attention_sequences); None without any."""

    next_token: Array | None
    """Entropies in nats (num_next_token_sequences,); None without any."""


def run(
    *,
    checkpoint: Path,
    sequences: Path,
    intervention: Path | None,
    output: Path,
    output_token_entropies: Path,
    settings: ExtractCoefficientsJob,
) -> None:
    """Measure coefficients, attention and predictions of a checkpoint over a corpus."""
    device = _models.prepare_torch(settings.num_threads)
    model = _models.load_model(
        checkpoint, intervention=intervention, dtype=DTYPES[settings.precision], device=device
    )
    input_ids = _sequences.read_sequences(sequences, vocab_size=model.config.vocab_size)
    check_sequences(
        input_ids, sequences, settings.num_sequences, model.config.max_position_embeddings
    )
    input_ids = input_ids[: settings.num_sequences]
    num_tokens = count_tokens(input_ids, load_tokenizer(checkpoint.parent))

    def first(count: int) -> Instances:
        return gather_instances(
            input_ids[:count],
            num_tokens[:count],
            padding=settings.padding,
            num_groups=settings.num_groups,
        )

    measures = measure_in_one_pass(model, first(settings.num_sequences), settings)
    means = measures.coefficients
    if settings.num_attribution_sequences:
        means["attribution"] = measure_attributions(
            model,
            first(settings.num_attribution_sequences),
            batch_size_sequences=settings.batch_size_sequences,
            num_groups=settings.num_groups,
        )
    rows = token_entropy_rows(measures, settings.num_groups)
    _tables.write_table(output_token_entropies, list(rows), _schemas.TOKEN_ENTROPIES)
    write_coefficients(output, means, memory_norms(feed_forward(model)))


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
    model: PreTrainedModel, instances: Instances, settings: ExtractCoefficientsJob
) -> Measures:
    """Run the body of the model over all instances; memory does not grow with their number.

    The model is in evaluation mode, on its device. The output layer runs only for next-token
    entropies.

    Raises:
        UserError: a coefficient is not finite.
    """
    layers = feed_forward(model)
    with_relu = settings.relu_gate
    names = ["absolute", "signed", "square", "active", *(["relu_gate"] if with_relu else [])]
    terms = partial(coefficient_terms, active_threshold=settings.active_threshold)
    means = GroupMeans(names, terms, layers, settings.num_groups, model.device)

    def observe(observed: Coefficients) -> None:
        means.add(observed, *([] if observed.relu is None else [observed.relu]))

    attention, next_token = AttentionEntropies(), list[Tensor]()
    ends = settings.num_attention_sequences, settings.num_next_token_sequences
    with (
        layers.observing(observe, with_relu=with_relu),
        tqdm(total=len(instances), desc="coefficients", unit="sequence") as progress,
    ):
        for first, batch in instances.batches(settings.batch_size_sequences, *ends):
            means.start_batch(batch)
            num_tokens = batch.num_tokens.tolist()
            with attention.recording(model, num_tokens) if first < ends[0] else nullcontext():
                hidden = model.base_model(
                    input_ids=batch.input_ids.to(model.device), use_cache=False
                ).last_hidden_state
            if first < ends[1]:
                next_token.append(mean_next_token_entropies(model, hidden, num_tokens).cpu())
            progress.update(len(batch))
    return Measures(
        means.finish(len(instances)),
        attention=attention.finish() if ends[0] else None,
        next_token=torch.cat(next_token).numpy() if ends[1] else None,
    )


def memory_norms(layers: FeedForward) -> Array:
    """Return ‖v‖ of the memory vectors (num_layers, m)."""
    norms = [
        torch.linalg.vector_norm(layers.memory_vectors(layer).detach(), dim=1, dtype=torch.float64)
        for layer in range(layers.num_layers)
    ]
    stacked: Array = torch.stack(norms).cpu().numpy()
    return stacked


def write_coefficients(path: Path, means: dict[str, Array], norms: Array) -> None:
    """Write one row per (layer, memory) from means (num_layers, num_groups, m)."""
    num_layers, num_groups, m = means["absolute"].shape
    schema = _schemas.coefficients_schema(num_groups)

    def by_group(name: str, column: str) -> pa.Array:
        if name not in means:
            return pa.nulls(num_layers * m, schema.field(column).type)
        rows = means[name].swapaxes(1, 2).ravel()
        return pa.FixedSizeListArray.from_arrays(
            rows.astype(schema.field(column).type.value_type.to_pandas_dtype()), num_groups
        )

    overall = {name: values.mean(axis=1).ravel() for name, values in means.items()}
    columns = {
        "layer": np.repeat(np.arange(num_layers, dtype=np.int32), m),
        "memory": np.tile(np.arange(m, dtype=np.int32), num_layers),
        "mean_absolute": overall["absolute"],
        "mean": overall["signed"],
        "mean_square": overall["square"],
        "active_fraction": overall["active"],
        "memory_norm": norms.ravel(),
        "group_mean_absolute": by_group("absolute", "group_mean_absolute"),
        "group_mean": by_group("signed", "group_mean"),
        "group_mean_relu_gate": by_group("relu_gate", "group_mean_relu_gate"),
        "group_mean_attribution": by_group("attribution", "group_mean_attribution"),
    }
    _tables.write_table(path, columns, schema)


def token_entropy_rows(measures: Measures, num_groups: int) -> Iterator[dict[str, Any]]:
    """Yield rows of ``_schemas.TOKEN_ENTROPIES``; groups are contiguous and of equal size.

    Raises:
        UserError: an entropy is not finite.
    """
    if measures.attention is not None:
        groups = _group_means("attention", measures.attention, num_groups)
        for (layer, head, group), value in np.ndenumerate(groups):
            yield {
                "quantity": "attention",
                "layer": layer,
                "head": head,
                "group": group,
                "entropy_nats": value,
            }
    if measures.next_token is not None:
        for group, value in enumerate(_group_means("next_token", measures.next_token, num_groups)):
            yield {"quantity": "next_token", "group": group, "entropy_nats": value}


def _group_means(quantity: str, entropies: Array, num_groups: int) -> Array:
    if not np.isfinite(entropies).all():
        raise UserError(f"{quantity} entropies are not finite; try precision fp32")
    means: Array = entropies.reshape(*entropies.shape[:-1], num_groups, -1).mean(axis=-1)
    return means


if __name__ == "__main__":
    _cli.main(run)
