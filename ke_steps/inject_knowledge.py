r"""Continual pretraining of a checkpoint, with new knowledge injected on a schedule.

Reads a checkpoint (and the multipliers of a variant, applied on load), the packed sequences of the
continual corpus, passages, probes, and the injection schedule. Every step trains on the next
``batch_size_sequences`` sequences; where the schedule names a row of a step's batch, the tokens of
its text precede that sequence, which is cut back to length (FACTS, section 2). Writes

- the trained model as a checkpoint (fp32 safetensors; its manifest keeps the checkpoint's step),
- the training table: train_step, loss_nats, learning_rate, gradient_norm, num_injected_sequences,
- the probe scores (``_tables.PROBE_SCORES``) at the start, before and after every injection, and
  at the end.

With ``precision: bf16`` training and probing run under autocast on fp32 weights, as the reference.

    python -m ke_steps.inject_knowledge --checkpoint results/nursery/step400/manifest.json \
        --sequences … --passages … --probes … --schedule … --output-model …/manifest.json \
        --output-training … --output-probe-scores … --settings '{…}'
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ke_steps import (
    _checkpoints,
    _cli,
    _models,
    _probes,
    _provenance,
    _tables,
    _tokenizers,
    _training,
)
from ke_steps._errors import UserError
from ke_steps._tokenizers import Tokenizer
from ke_steps.settings import InjectKnowledge, Recipe


class Moment(NamedTuple):
    """A point of the run at which probes are scored."""

    moment: str
    injection: int | None


def moments_of_step(recipe: Recipe) -> dict[int, list[Moment]]:
    """Return {optimiser steps done: its moments}; one step can be several, evaluated once.

    Injection k is in the batch of step k · injection_interval_steps, hence *before* it is one step
    less.
    """
    moments: dict[int, list[Moment]] = defaultdict(list)
    moments[0].append(Moment("start", None))
    for injection in range(1, recipe.num_injections + 1):
        step = injection * recipe.injection_interval_steps
        moments[step - 1].append(Moment("before", injection))
        moments[step].append(Moment("after", injection))
    moments[recipe.num_steps].append(Moment("end", None))
    return dict(moments)


def first_sequence(seed: int, num_sequences: int) -> int:
    """Return where in the corpus a run starts: at its beginning for seed 0, else drawn."""
    return 0 if seed == 0 else int(np.random.default_rng(seed).integers(num_sequences))


def injected_tokens(
    schedule: pd.DataFrame, passages: pd.DataFrame, tokenizer: Tokenizer, recipe: Recipe
) -> dict[int, Sequence[int]]:
    """Return {item of the run: token ids that precede it}; item = (step - 1) · batch size + row.

    Raises:
        UserError: the schedule leaves the run, names a batch row twice, or a text that is missing.
    """
    texts = passages.set_index(["passage_id", "text_index"])["text"]
    keys = list(zip(schedule["passage_id"], schedule["text_index"], strict=True))
    missing = [key for key in keys if key not in texts.index]
    if missing:
        raise UserError(
            f"schedule: passage {missing[0][0]} has no text {missing[0][1]} in the passages table"
        )
    num_steps, batch_size = recipe.num_steps, recipe.batch_size_sequences
    inside = schedule["train_step"].between(1, num_steps) & schedule["batch_row"].between(
        0, batch_size - 1
    )
    if not inside.all():
        row = schedule[~inside].iloc[0]
        raise UserError(
            f"schedule: step {row['train_step']}, batch row {row['batch_row']} is outside the"
            f" recipe's {num_steps} steps of {batch_size} sequences"
        )
    items = (schedule["train_step"] - 1) * batch_size + schedule["batch_row"]
    if items.duplicated().any():
        row = schedule[items.duplicated()].iloc[0]
        raise UserError(
            f"schedule: step {row['train_step']}, batch row {row['batch_row']} is named twice"
        )
    token_ids = tokenizer.encode_batch([texts[key] for key in keys])
    return dict(zip(items.tolist(), token_ids, strict=True))


def run(
    *,
    checkpoint: Path,
    multipliers: Path | None,
    sequences: Path,
    passages: Path,
    probes: Path,
    schedule: Path,
    output_model: Path,
    output_training: Path,
    output_probe_scores: Path,
    settings: InjectKnowledge,
) -> None:
    """Train, probing along the way, and write the model and both tables."""
    device = _models.prepare_torch(settings.num_threads, settings.seed)
    tokenizer = _tokenizers.load_tokenizer(checkpoint.parent)
    probe_frame = _tables.read_frame(probes, _tables.PROBES)
    spans = _probes.encode_probes(tokenizer, probe_frame)
    prefixes = injected_tokens(
        _tables.read_frame(schedule, _tables.SCHEDULE),
        _tables.read_frame(passages, _tables.PASSAGES),
        tokenizer,
        settings,
    )
    model = _models.load_model(checkpoint, multipliers=multipliers, device=device)
    optimisation = _optimisation(settings)
    tokens = _training.read_corpus(
        sequences,
        optimisation,
        vocab_size=model.config.vocab_size,
        corpus=settings.corpus,
    )
    context = model.config.max_position_embeddings
    if tokens.shape[1] > context:
        raise UserError(
            f"corpora.{settings.corpus}.sequence_length_tokens: {tokens.shape[1]} tokens are more"
            f" than the model's context of {context}"
        )
    moments = moments_of_step(settings)
    probe_scores: list[pd.DataFrame] = []

    def probe(step: int) -> None:
        if step in moments:
            scores = _probes.score_probes(model, probe_frame, spans, precision=settings.precision)
            for moment in moments[step]:
                probe_scores.append(scores.assign(**moment._asdict(), train_step=step))

    probe(0)
    rows = _training.train(
        model,
        _training.TrainingSequences(
            tokens,
            num_items=optimisation.num_sequences,
            first=first_sequence(settings.seed, len(tokens)),
            prefixes=prefixes,
        ),
        optimisation,
        tokenizer=tokenizer,
        after_step=probe,
    )
    _tables.write_table(output_training, rows, _tables.TRAINING)
    _tables.write_table(output_probe_scores, _joined(probe_scores), _tables.PROBE_SCORES)
    _checkpoints.save_checkpoint(
        model,
        checkpoint.parent,
        output_model,
        step=_checkpoints.read_manifest(checkpoint)["step"],
        source=_source(checkpoint, multipliers, settings),
    )


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    joined = pd.concat(frames, ignore_index=True)
    return joined.assign(injection=joined["injection"].astype("Int32"))


def _source(
    checkpoint: Path, multipliers: Path | None, settings: InjectKnowledge
) -> dict[str, Any]:
    """Describe the run by content, so that equal runs give equal manifests wherever they are."""
    return {
        "kind": "inject_knowledge",
        "recipe": settings.model_dump(mode="json", exclude={"seed"}),
        "seed": settings.seed,
        "checkpoint_sha256": _provenance.hash_file(checkpoint),
        "multipliers_sha256": None if multipliers is None else _provenance.hash_file(multipliers),
    }


def _optimisation(settings: InjectKnowledge) -> _training.Optimisation:
    return _training.Optimisation(
        num_steps=settings.num_steps,
        batch_size_sequences=settings.batch_size_sequences,
        micro_batch_size_sequences=settings.micro_batch_size_sequences,
        learning_rate=settings.learning_rate,
        warmup_fraction=settings.warmup_fraction,
        min_learning_rate_ratio=settings.min_learning_rate_ratio,
        weight_decay=settings.weight_decay,
        max_gradient_norm=settings.max_gradient_norm,
        precision=settings.precision,
    )


if __name__ == "__main__":
    _cli.main(run)
