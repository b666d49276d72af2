r"""What a checkpoint's most and least active memories say, in tokens.

Reads: a checkpoint and its Parquet of ``extract_coefficients``.
Writes: Parquet (``measure_schemas.MEMORIES``): of each layer the ``num_memories`` memories with the
highest and the lowest mean |c| (the lower index first where they tie), rank 1 at the end of the
scale, each with the ``num_tokens`` tokens that its memory vector promotes most, best first, and
their scores. A memory vector of zeros promotes none.

The score of token t is (γ ∘ v) · e_t: the memory vector v through the gain γ of the final norm and
the row e_t of the unembedding, the usual reading through the "logit lens". The norm's division and
centring are left out: what v is added to decides them. Hence scores compare tokens, not memories.
Rows of the unembedding beyond the tokenizer's vocabulary are padding and are passed over.

    python -m ke_steps.describe_memories --checkpoint …/manifest.json \
        --coefficients …/coefficients.parquet --output memories.parquet \
        --settings '{"num_memories": 5, "num_tokens": 10, "num_threads": 1}'
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from ke_steps.artefacts.coefficients import read_activity
from ke_steps.artefacts.measure_schemas import MEMORIES
from ke_steps.artefacts.parquet import write_table
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.models.feed_forward import FeedForward, feed_forward
from ke_steps.models.loading import load_model, prepare_torch, unembedding_of
from ke_steps.settings.measures import DescribeMemoriesJob
from ke_steps.texts.tokenizers import Tokenizer, load_tokenizer


def run(
    *, checkpoint: Path, coefficients: Path, output: Path, settings: DescribeMemoriesJob
) -> None:
    """Describe the ends of the activity scale of one checkpoint."""
    device = prepare_torch(settings.num_threads)
    activity = read_activity(coefficients)
    tokenizer = load_tokenizer(checkpoint.parent)
    model = load_model(checkpoint, device=device)
    rows = memory_rows(model, tokenizer, activity, settings)
    write_table(output, list(rows), MEMORIES)


@torch.no_grad()
def memory_rows(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    activity: NDArray[np.float64],
    settings: DescribeMemoriesJob,
) -> Iterator[dict[str, Any]]:
    """Yield rows of ``measure_schemas.MEMORIES`` for activities (num_layers, m).

    Raises:
        UserError: activities of another model, or more memories or tokens asked for than there are.
    """
    layers = feed_forward(model)
    _refuse_misfits(layers, tokenizer, activity, settings)
    gain = final_gain(model)
    unembedding = unembedding_of(model)[: tokenizer.vocab_size]
    for layer, means in enumerate(activity):
        for end, order in (("most", -means), ("least", means)):
            chosen = np.argsort(order, kind="stable")[: settings.num_memories]
            vectors = layers.memory_vectors(layer)[torch.from_numpy(chosen)] * gain
            tokens, scores = promoted(vectors, unembedding, settings.num_tokens)
            num_told = vectors.any(dim=1).int() * settings.num_tokens
            for rank, memory in enumerate(chosen):
                promotes = tokens[rank, : num_told[rank]].tolist()
                yield {
                    "layer": layer,
                    "end": end,
                    "rank": rank + 1,
                    "memory": memory,
                    "mean_absolute": means[memory],
                    "relative_activity": means[memory] / means.mean() if means.any() else None,
                    "tokens": [tokenizer.decode(token) for token in promotes],
                    "scores": scores[rank, : num_told[rank]].tolist(),
                }


def promoted(vectors: Tensor, unembedding: Tensor, num_tokens: int) -> tuple[Tensor, Tensor]:
    """Return the tokens (n, num_tokens) that vectors (n, d) promote most, and their scores.

    ``unembedding`` is (V, d); the lower token id comes first where two tie.
    """
    scores, tokens = (vectors @ unembedding.T).sort(dim=1, descending=True, stable=True)
    return tokens[:, :num_tokens], scores[:, :num_tokens]


@torch.no_grad()
def final_gain(model: PreTrainedModel) -> Tensor:
    """Return the gain γ (d,) of the norm before the unembedding; ones where it has none (OLMo)."""
    (norm,) = (
        module
        for name, module in model.base_model.named_children()
        if "norm" in name or name == "ln_f"
    )
    # read off the output, as families keep γ, or 1 + γ, or nothing; ±1 has mean 0 and mean square 1
    signs = torch.ones(model.config.hidden_size, device=model.device)
    signs[1::2] = -1
    return (norm(signs) - norm(-signs)) / (2 * signs)


def _refuse_misfits(
    layers: FeedForward,
    tokenizer: Tokenizer,
    activity: NDArray[np.float64],
    settings: DescribeMemoriesJob,
) -> None:
    expected = (layers.num_layers, layers.num_memories)
    if activity.shape != expected:
        raise UserError(
            f"coefficients are {activity.shape} (layers, memories), model is {expected}"
        )
    for key, limit in (("num_memories", layers.num_memories), ("num_tokens", tokenizer.vocab_size)):
        asked = getattr(settings, key)
        if asked > limit:
            raise UserError(f"describe_memories.{key}: {asked} is more than the {limit} there are")


if __name__ == "__main__":
    main(run)
