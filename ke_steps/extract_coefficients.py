"""Measure the memory coefficients of a checkpoint over a corpus, in one pass.

Reads: a checkpoint's manifest, a table of packed sequences, optionally row multipliers.
Writes: Parquet, one row per (layer, memory), fp64 (``_tables.coefficients_schema``):

- ``mean_absolute``: mean over instances of the mean over tokens of |c| (paper, section 3:
  C̄ˡ = 1/|D| Σₙ 1/Tₙ Σⱼ |Cˡₙⱼ|);
- ``mean``, ``mean_square``: likewise of c and c²;
- ``active_fraction``: likewise of [|c| > active_threshold];
- ``group_mean_absolute``: ``mean_absolute`` of each of ``num_groups`` contiguous groups of
  instances of equal size.

Padding is the run of pad tokens at the end of a sequence, where the tokenizer names a ``pad_token``
other than its end-of-text token; ``padding: exclude`` leaves it out. ``padding: reference`` counts
as the reference code does: pads are tokens, and *sums* over tokens are averaged over instances, so
every column is larger by the sequence length.

Example::

    python -m ke_steps.extract_coefficients --checkpoint step100/manifest.json \
        --sequences corpus.parquet --output coefficients.parquet --settings '{"corpus": "world",
        "num_sequences": 64, "batch_size_sequences": 8, "precision": "fp32",
        "active_threshold": 0.1, "num_groups": 16, "num_threads": 1}'
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import PreTrainedModel

from ke_steps import _cli, _models, _sequences, _tables
from ke_steps._errors import UserError
from ke_steps._moments import Moments, RunningMoments
from ke_steps._tokenizers import Tokenizer, load_tokenizer
from ke_steps.settings import ExtractCoefficientsJob

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def run(
    *,
    checkpoint: Path,
    sequences: Path,
    multipliers: Path | None,
    output: Path,
    settings: ExtractCoefficientsJob,
) -> None:
    """Measure the memory coefficients of a checkpoint over a corpus."""
    device = _models.prepare_torch(settings.num_threads)
    model = _models.load_model(
        checkpoint, multipliers=multipliers, dtype=DTYPES[settings.precision], device=device
    )
    input_ids = _sequences.read_sequences(sequences, vocab_size=model.config.vocab_size)
    check_sequences(
        input_ids, sequences, settings.num_sequences, model.config.max_position_embeddings
    )
    input_ids = input_ids[: settings.num_sequences]
    if settings.padding == "exclude":
        num_tokens = count_tokens(input_ids, load_tokenizer(checkpoint.parent))
        divisors = num_tokens
    else:
        num_tokens = np.full(len(input_ids), input_ids.shape[1])
        divisors = np.ones_like(num_tokens)
    moments = measure_moments(
        model,
        input_ids,
        num_tokens,
        divisors,
        batch_size_sequences=settings.batch_size_sequences,
        num_groups=settings.num_groups,
        active_threshold=settings.active_threshold,
    )
    write_moments(output, moments)


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


def count_tokens(input_ids: NDArray[np.int32], tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Return the number of tokens of each sequence (N,) before the pad tokens at its end."""
    num_sequences, length = input_ids.shape
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        return np.full(num_sequences, length)
    is_token = input_ids != tokenizer.pad_token_id
    num_tokens = length - np.argmax(is_token[:, ::-1], axis=1)
    empty = np.flatnonzero(~is_token.any(axis=1))
    if len(empty):
        raise UserError(f"sequence {empty[0]} of the corpus holds nothing but padding")
    return num_tokens


@torch.inference_mode()
def measure_moments(
    model: PreTrainedModel,
    input_ids: NDArray[np.int32],
    num_tokens: NDArray[np.int64],
    divisors: NDArray[np.int64],
    *,
    batch_size_sequences: int,
    num_groups: int,
    active_threshold: float,
) -> Moments:
    """Run the body of the model over all sequences; memory does not grow with their number.

    Right padding needs no attention mask: under causal attention no token sees what follows it.

    Args:
        model: in evaluation mode, on its device.
        input_ids: (N, T) token ids; ``num_groups`` divides N.
        num_tokens: (N,) leading tokens of each sequence that count.
        divisors: (N,) what each sequence's sums over tokens are divided by.
        batch_size_sequences: sequences per forward pass.
        num_groups: contiguous groups of instances.
        active_threshold: |c| above this counts as active.

    Raises:
        UserError: a coefficient is not finite.
    """
    layers = _models.feed_forward(model)
    running = RunningMoments(layers, num_groups, active_threshold, model.device)
    group = torch.arange(len(input_ids)) // (len(input_ids) // num_groups)
    with (
        running.watching(layers.output_projections),
        tqdm(total=len(input_ids), desc="coefficients", unit="sequence") as progress,
    ):
        for start in range(0, len(input_ids), batch_size_sequences):
            rows = slice(start, start + batch_size_sequences)
            batch = torch.tensor(input_ids[rows])
            running.start_batch(
                group[rows], torch.from_numpy(num_tokens[rows]), torch.from_numpy(divisors[rows])
            )
            model.base_model(input_ids=batch.to(model.device), use_cache=False)
            progress.update(len(batch))
    return running.finish(len(input_ids))


def write_moments(path: Path, moments: Moments) -> None:
    """Write one row per (layer, memory)."""
    num_layers, num_groups, m = moments.group_absolute.shape
    by_memory = moments.group_absolute.swapaxes(1, 2).ravel()
    columns = {
        "layer": np.repeat(np.arange(num_layers, dtype=np.int32), m),
        "memory": np.tile(np.arange(m, dtype=np.int32), num_layers),
        "mean_absolute": moments.group_absolute.mean(axis=1).ravel(),
        "mean": moments.signed.ravel(),
        "mean_square": moments.square.ravel(),
        "active_fraction": moments.active.ravel(),
        "group_mean_absolute": pa.FixedSizeListArray.from_arrays(by_memory, num_groups),
    }
    _tables.write_table(path, columns, _tables.coefficients_schema(num_groups))


if __name__ == "__main__":
    _cli.main(run)
