r"""Continual pretraining of a checkpoint, with new knowledge injected on a schedule.

Reads a checkpoint (and the intervention of a variant, applied on load), the packed sequences of the
continual corpus, passages, probes, and the injection schedule. Every step trains on the next
``batch_size_sequences`` sequences, every epoch on the same ones in the same order; where the
schedule names a row of a step's batch, the tokens of its text precede that sequence, which is cut
back to length (FACTS, section 2). Writes

- the trained model as a checkpoint (fp32 safetensors; its manifest keeps the checkpoint's step),
- the training table: train_step, loss_nats, learning_rate, gradient_norm, num_injected_sequences,
- the probe scores (``_schemas.PROBE_SCORES``) at the start, before and after every injection, every
  ``probe_interval_steps`` after the last one, and at the end,
- the update map (``_schemas.UPDATES``): how far training moved every memory from where it started,
  the intervention included.

With ``precision: bf16`` training and probing run under autocast on fp32 weights, as the reference.

    python -m ke_steps.inject_knowledge --checkpoint results/nursery/step400/manifest.json \
        --sequences … --passages … --probes … --schedule … --output-model …/manifest.json \
        --output-training … --output-probe-scores … --output-updates … --settings '{…}'
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ke_steps import (
    _checkpoints,
    _cli,
    _feed_forward,
    _injection,
    _models,
    _probes,
    _provenance,
    _schemas,
    _tables,
    _tokenizers,
    _training,
    _updates,
)
from ke_steps._errors import UserError
from ke_steps._tokenizers import Tokenizer
from ke_steps.settings import InjectKnowledge


def run(
    *,
    checkpoint: Path,
    intervention: Path | None,
    sequences: Path,
    passages: Path,
    probes: Path,
    schedule: Path,
    output_model: Path,
    output_training: Path,
    output_probe_scores: Path,
    output_updates: Path,
    settings: InjectKnowledge,
) -> None:
    """Train, probing along the way, and write the model and the three tables."""
    device = _models.prepare_torch(settings.num_threads, settings.seed)
    tokenizer = _tokenizers.load_tokenizer(checkpoint.parent)
    probing = _Probing(_tables.read_frame(probes, _schemas.PROBES), tokenizer, settings)
    prefixes = _injection.injected_tokens(
        _tables.read_frame(schedule, _schemas.SCHEDULE),
        _tables.read_frame(passages, _schemas.PASSAGES),
        tokenizer,
        settings,
    )
    model = _models.load_model(checkpoint, intervention=intervention, device=device)
    optimisation = _optimisation(settings)
    tokens = _read_tokens(sequences, optimisation, model, settings.corpus)
    probing.score(model, 0)
    rows = _training.train(
        model,
        _training.TrainingSequences(
            tokens,
            num_items=optimisation.num_sequences,
            first=_injection.first_sequence(settings.seed, len(tokens)),
            num_epochs=settings.num_epochs,
            prefixes=prefixes,
        ),
        optimisation,
        tokenizer=tokenizer,
        after_step=partial(probing.score, model),
    )
    _tables.write_table(output_training, rows, _schemas.TRAINING)
    _tables.write_table(output_probe_scores, probing.scores(), _schemas.PROBE_SCORES)
    # read anew: a copy kept through training would take the place of larger batches
    start = _models.load_model(checkpoint, intervention=intervention, device=torch.device("cpu"))
    layers = _updates.update_map(
        _feed_forward.feed_forward(start), _feed_forward.feed_forward(model)
    )
    _tables.write_batches(output_updates, layers, _schemas.UPDATES)
    _checkpoints.save_checkpoint(
        model,
        checkpoint.parent,
        output_model,
        step=_checkpoints.read_manifest(checkpoint)["step"],
        source=_source(checkpoint, intervention, settings),
    )


class _Probing:
    """Scores all probes at the moments of a run and keeps what it finds."""

    def __init__(
        self, probes: pd.DataFrame, tokenizer: Tokenizer, settings: InjectKnowledge
    ) -> None:
        self._probes = probes
        self._spans = _probes.encode_probes(tokenizer, probes)
        self._moments = _injection.moments_of_step(settings)
        self._precision = settings.precision
        self._frames: list[pd.DataFrame] = []

    def score(self, model: PreTrainedModel, step: int) -> None:
        """Score the probes if the run has a moment after this many optimiser steps."""
        if step in self._moments:
            scores = _probes.score_probes(
                model, self._probes, self._spans, precision=self._precision
            )
            for moment in self._moments[step]:
                self._frames.append(scores.assign(**moment._asdict(), train_step=step))

    def scores(self) -> pd.DataFrame:
        """Return everything scored so far, a frame of ``_schemas.PROBE_SCORES``."""
        joined = pd.concat(self._frames, ignore_index=True)
        return joined.assign(injection=joined["injection"].astype("Int32"))


def _read_tokens(
    sequences: Path,
    optimisation: _training.Optimisation,
    model: PreTrainedModel,
    corpus: str,
) -> NDArray[np.int32]:
    tokens = _training.read_corpus(
        sequences, optimisation, vocab_size=model.config.vocab_size, corpus=corpus
    )
    context = model.config.max_position_embeddings
    if tokens.shape[1] > context:
        raise UserError(
            f"corpora.{corpus}.sequence_length_tokens: {tokens.shape[1]} tokens are more"
            f" than the model's context of {context}"
        )
    return tokens


def _source(
    checkpoint: Path, intervention: Path | None, settings: InjectKnowledge
) -> dict[str, Any]:
    """Describe the run by content, so that equal runs give equal manifests wherever they are."""
    return {
        "kind": "inject_knowledge",
        "recipe": settings.model_dump(mode="json", exclude={"seed"}),
        "seed": settings.seed,
        "checkpoint_sha256": _provenance.hash_file(checkpoint),
        "intervention_sha256": None
        if intervention is None
        else _provenance.hash_file(intervention),
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
        num_epochs=settings.num_epochs,
    )


if __name__ == "__main__":
    _cli.main(run)
