r"""What else, beside its entropy, could explain how a checkpoint learns and forgets.

Reads a checkpoint, its Parquet of ``extract_coefficients``, and packed sequences of the main, the
held-out and the new corpus, of each the first ``num_sequences``. Writes
``artefacts.rival_schemas.RIVALS``, by layer and (group ``model``) over layers or parameters:

- ``dormant_at_0``, ``…_0.025``, ``…_0.1``: the fraction of memories whose mean |c| is at most τ
  times their layer's mean;
- ``participation_ratio``, ``effective_rank`` of the second moments E[c cᵀ] on the main corpus;
- ``weight_norm`` of all parameters, and of embeddings, attention and feed-forward layers;
  ``gradient_norm`` of the same, of the mean loss on the new corpus;
- ``held_out_loss_nats``, and ``sensitivity_nats`` by group of parameters and scale γ: by how much
  noise raises it (``measuring.perturbation``), mean over draws with Student's t interval.

The model's dormancy, participation ratio and effective rank are means over layers. All is fp32.

    python -m ke_steps.measure_rivals --checkpoint …/manifest.json \
        --coefficients …/coefficients.parquet --sequences main.parquet \
        --held-out held_out.parquet --new-text new.parquet --output rivals.parquet \
        --settings '{"new_corpus": "continual", "held_out_corpus": "held_out", "num_threads": 1}'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ke_steps.artefacts.coefficients import read_activity
from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.replicates import group_of_layer
from ke_steps.artefacts.rival_schemas import RIVALS, THRESHOLDS, at_scale, dormant_at
from ke_steps.artefacts.sequences import read_sequences
from ke_steps.formulas.spectrum import (
    Array,
    dormant_fraction,
    effective_rank,
    participation_ratio,
    squared_norm_of_sample,
)
from ke_steps.formulas.uncertainty import student_quantile
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.measuring.instances import count_tokens, gather_instances
from ke_steps.measuring.perturbation import gradient_norms, loss_rises, norm_of
from ke_steps.measuring.second_moments import Moments, measure_second_moments
from ke_steps.models.loading import load_model, prepare_torch
from ke_steps.models.parameter_groups import Groups, parameter_groups
from ke_steps.scoring.spans import Span, score_spans
from ke_steps.settings.measures import MeasureRivalsJob
from ke_steps.texts.tokenizers import load_tokenizer

Row = dict[str, Any]
TokenIds = NDArray[np.int32]


def run(
    *,
    checkpoint: Path,
    coefficients: Path,
    sequences: Path,
    held_out: Path,
    new_text: Path,
    output: Path,
    settings: MeasureRivalsJob,
) -> None:
    """Measure the rivals of entropy on one checkpoint."""
    device = prepare_torch(settings.num_threads)
    model = load_model(checkpoint, device=device)
    main_text, held_out_text, new = (
        _first_sequences(path, model, settings) for path in (sequences, held_out, new_text)
    )
    instances = gather_instances(
        main_text,
        count_tokens(main_text, load_tokenizer(checkpoint.parent)),
        padding="exclude",
        num_groups=1,
    )
    moments = measure_second_moments(
        model,
        instances,
        batch_size_sequences=settings.batch_size_sequences,
        max_memories=settings.max_memories,
        seed=settings.seed,
    )
    groups = parameter_groups(model)
    norms = {
        "weight_norm": {name: norm_of(members) for name, members in groups.items()},
        "gradient_norm": gradient_norms(
            model, groups, new, batch_size_sequences=settings.batch_size_sequences
        ),
    }
    rows = [
        *dormancy_rows(read_activity(coefficients)),
        *rank_rows(moments),
        *(
            {"group": group, "quantity": quantity, "value": norm}
            for quantity, by_group in norms.items()
            for group, norm in by_group.items()
        ),
        *sensitivity_rows(model, groups, held_out_text, settings),
    ]
    write_table(output, rows, RIVALS)


def _first_sequences(path: Path, model: PreTrainedModel, settings: MeasureRivalsJob) -> TokenIds:
    found = read_sequences(path, vocab_size=model.config.vocab_size)
    if len(found) < settings.num_sequences:
        raise UserError(
            f"measure_rivals.num_sequences: {settings.num_sequences} is more than the {len(found)}"
            f" sequences of {path}"
        )
    return found[: settings.num_sequences]


def dormancy_rows(activity: Array) -> Iterator[Row]:
    """Yield the dormant fractions of mean |c| (num_layers, m)."""
    for threshold in THRESHOLDS:
        fractions = dormant_fraction(activity, threshold)
        yield from _by_layer(dormant_at(threshold), fractions.tolist())


def rank_rows(moments: Sequence[Moments]) -> Iterator[Row]:
    """Yield the ranks of the second moments of each layer.

    Where only some memories were drawn, no effective rank is known: a part has its own.
    """
    ratios, ranks = [], []
    for squares, products in moments:
        diagonal, sampled = squares.cpu().numpy(), products.cpu().numpy()
        squared_norm = squared_norm_of_sample(diagonal, sampled)
        ratios.append(participation_ratio(float(diagonal.sum()), squared_norm))
        is_whole = len(sampled) == len(diagonal)
        spectrum = torch.linalg.eigvalsh(products).cpu().numpy() if is_whole else None
        ranks.append(np.nan if spectrum is None else effective_rank(spectrum))
    yield from _by_layer("participation_ratio", ratios)
    yield from _by_layer("effective_rank", ranks)


def _by_layer(quantity: str, values: Sequence[float]) -> Iterator[Row]:
    """Yield the mean over layers, then each layer; NaN where one of them is not defined."""
    for layer, value in enumerate([float(np.mean(values)), *values], start=-1):
        group = group_of_layer(None if layer < 0 else layer)
        yield {"group": group, "quantity": quantity, "value": value}


def sensitivity_rows(
    model: PreTrainedModel, groups: Groups, held_out: TokenIds, settings: MeasureRivalsJob
) -> Iterator[Row]:
    """Yield the held-out loss, and by how much noise on each group of parameters raises it."""

    def loss() -> float:
        scores = score_spans(
            model,
            [Span(sequence, 1) for sequence in held_out],
            batch_size_sequences=settings.batch_size_sequences,
            precision="fp32",
        )
        every = np.concatenate([score.log_probabilities for score in scores])
        return -float(every.mean(dtype=np.float64))

    before = loss()
    yield {"group": group_of_layer(None), "quantity": "held_out_loss_nats", "value": before}
    seeds = np.random.SeedSequence(settings.seed).generate_state(settings.num_draws).tolist()
    for group, parameters in groups.items():
        rises = loss_rises(parameters, loss, before, settings.noise_scales, seeds)
        for scale, draws in zip(settings.noise_scales, rises, strict=True):
            yield {
                "group": at_scale(group, scale),
                "quantity": "sensitivity_nats",
                **_mean_of_draws(draws, settings.confidence),
            }


def _mean_of_draws(draws: Array, confidence: float) -> Mapping[str, Any]:
    number = len(draws)
    error = float(draws.std(ddof=1)) / np.sqrt(number)
    side = student_quantile((1 + confidence) / 2, number - 1) * error
    value = float(draws.mean())
    return {
        "value": value,
        "low": value - side,
        "high": value + side,
        "num_items": number,
        "draws": draws.tolist(),
    }


if __name__ == "__main__":
    main(run)
