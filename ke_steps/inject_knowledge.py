r"""Continual pretraining of a checkpoint, with new knowledge injected on a schedule.

Reads a checkpoint (and the intervention of a variant, applied on load), the packed sequences of the
continual corpus, passages, encoded probes and the schedule. Every step trains on the next
``batch_size_sequences`` sequences, every epoch on the same ones in the same order; where the
schedule names a row of a step's batch, the tokens of its text, begun (``begin_of_text``) and ended
as a document's, precede that sequence, which is cut back to length (FACTS, section 2). Writes

- the trained model as a checkpoint (fp32 safetensors; its manifest keeps the checkpoint's step),
- the training table: train_step, loss_nats, learning_rate, gradient_norm, num_injected_sequences,
- the probe scores (``learning_schemas.PROBE_SCORES``) at the start, before and after every
  injection, every ``probe_interval_steps`` after the last one, and at the end,
- the update map (``learning_schemas.UPDATES``): how far training moved every memory from where it
  started, the intervention included.

Where the intervention is a temperature of attention, that follows its course: probes have it as the
step just done had it, and the trained model as it is at the end, in its config and its manifest.

With ``precision: bf16`` training and probing run under autocast on fp32 weights, as the reference.

A run whose loss or gradient norm is no finite number ends there, before the optimiser steps: the
training table has that step as its last row, the probes get their ``end``, the model is the last
finite one, and its manifest says ``diverged_at_step``, as it does where the loss only grew
(``formulas.divergence``). Training that is ended from outside leaves ``unfinished/`` beside the
model: the same command goes on from there (``training.resuming``).

    python -m ke_steps.inject_knowledge --checkpoint results/nursery/step400/manifest.json \
        --sequences … --passages … --probes … --schedule … --output-model …/manifest.json \
        --output-training … --output-probe-scores … --output-updates … --settings '{…}'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel

from ke_steps.artefacts.learning_schemas import PROBE_SCORES, TRAINING, UPDATES
from ke_steps.artefacts.parquet import read_frame, write_batches, write_table
from ke_steps.artefacts.text_schemas import ENCODED_PROBES, PASSAGES, SCHEDULE
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest, save_checkpoint
from ke_steps.checkpoints.families import read_model_config
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file
from ke_steps.measuring.updates import update_map
from ke_steps.models import ranks
from ke_steps.models.feed_forward import describe_model, feed_forward
from ke_steps.models.loading import load_model, prepare_torch
from ke_steps.models.parts import Shard
from ke_steps.models.temperature import temperature_of
from ke_steps.scoring.probes import score_probes
from ke_steps.settings.learning import InjectKnowledge
from ke_steps.texts.tokenizers import load_tokenizer
from ke_steps.training.batches import Optimisation, TrainingSequences, read_corpus
from ke_steps.training.gauge import gauge_of
from ke_steps.training.injection import (
    END,
    Moment,
    first_sequence,
    injected_tokens,
    moments_of_step,
)
from ke_steps.training.log import Watcher
from ke_steps.training.resuming import Unfinished
from ke_steps.training.sharding import call_gathered
from ke_steps.training.tempering import course_of
from ke_steps.training.train import train

SAVED_SCORES = "probe_scores.parquet"


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
    device = prepare_torch(settings.num_threads, settings.seed)
    tokenizer = load_tokenizer(checkpoint.parent, settings.begin_of_text)
    probing = _Probing(read_frame(probes, ENCODED_PROBES), settings)
    prefixes = injected_tokens(
        read_frame(schedule, SCHEDULE),
        read_frame(passages, PASSAGES),
        tokenizer,
        settings,
    )
    load = partial(_load, checkpoint, intervention)
    unfinished = Unfinished(output_model, probing)
    trained = train(
        load,
        _items(sequences, checkpoint, prefixes, settings),
        Optimisation.of(settings),
        tokenizer=tokenizer,
        device=device,
        watcher=probing,
        course=course_of(intervention),
        gauge=gauge_of(intervention) if settings.compensate_gauge else None,
        unfinished=unfinished,
    )
    if not ranks.is_first():
        return
    write_table(output_training, trained.rows, TRAINING)
    write_table(output_probe_scores, probing.scores(), PROBE_SCORES)
    _write_updates(output_updates, load, trained.model)
    save_checkpoint(
        trained.model,
        checkpoint.parent,
        output_model,
        step=read_checkpoint_manifest(checkpoint)["step"],
        source=_source(checkpoint, intervention, settings)
        | {
            "diverged_at_step": trained.diverged_at_step,
            "attention_temperature": temperature_of(trained.model),
        },
        sizes=describe_model(trained.model),
    )
    unfinished.remove()


def _load(
    checkpoint: Path, intervention: Path | None, device: torch.device, shard: Shard | None = None
) -> PreTrainedModel:
    return load_model(checkpoint, intervention=intervention, device=device, shard=shard)


def _write_updates(
    output: Path, load: Callable[..., PreTrainedModel], end: PreTrainedModel
) -> None:
    """Write the update map, with the weights of the start for no longer than that takes."""
    # read anew: a copy kept through training would take the place of larger batches
    start = feed_forward(load(torch.device("cpu")))
    write_batches(output, update_map(start, feed_forward(end)), UPDATES)


class _Probing(Watcher):
    """Scores all probes at the moments of a run and keeps what it finds."""

    def __init__(self, probes: pd.DataFrame, settings: InjectKnowledge) -> None:
        self._probes = probes
        self._moments = moments_of_step(settings)
        self._precision = settings.precision
        self._frames: list[pd.DataFrame] = []

    def begin(self, saved: Path | None) -> None:
        """Forget what was scored, but for what a saved state holds."""
        self._frames = []
        if saved is not None:
            frame = read_frame(saved / SAVED_SCORES, PROBE_SCORES)
            self._frames.append(frame.astype({"injection": "Int32"}))

    def observe(self, model: PreTrainedModel, step: int) -> None:
        """Score the probes if the run has a moment after this many optimiser steps."""
        self._score(model, step, self._moments.get(step, []))

    def diverged(self, model: PreTrainedModel, step: int) -> None:
        """Score the probes for the end of the run, which is now."""
        self._score(model, step, [END])

    def save(self, folder: Path) -> None:
        """Write everything scored so far."""
        write_table(folder / SAVED_SCORES, self.scores(), PROBE_SCORES)

    def scores(self) -> pd.DataFrame:
        """Return everything scored so far, a frame of ``learning_schemas.PROBE_SCORES``."""
        joined = pd.concat(self._frames, ignore_index=True)
        return joined.assign(injection=joined["injection"].astype("Int32"))

    def _score(self, model: PreTrainedModel, step: int, moments: Sequence[Moment]) -> None:
        if not moments:
            return
        scores = call_gathered(
            model,
            lambda: score_probes(model, self._probes, precision=self._precision, allow_nan=True),
        )
        for moment in moments:
            self._frames.append(scores.assign(**moment._asdict(), train_step=step))


def _items(
    sequences: Path,
    checkpoint: Path,
    prefixes: Mapping[int, Sequence[int]],
    settings: InjectKnowledge,
) -> TrainingSequences:
    """Return the sequences of the run; refuse them when too few, or too long or short for it."""
    config = read_model_config(checkpoint.parent)
    optimisation = Optimisation.of(settings)
    tokens = read_corpus(
        sequences, optimisation, vocab_size=config.vocab_size, corpus=settings.corpus
    )
    context = config.max_position_embeddings
    if tokens.shape[1] > context:
        raise UserError(
            f"corpora.{settings.corpus}.sequence_length_tokens: {tokens.shape[1]} tokens are more"
            f" than the model's context of {context}"
        )
    longest = max(map(len, prefixes.values()), default=0)
    if longest > tokens.shape[1]:
        raise UserError(
            f"corpora.{settings.corpus}.sequence_length_tokens: {tokens.shape[1]} tokens are fewer"
            f" than the {longest} of an injected text with its end-of-text token, which would be"
            " cut; take longer sequences"
        )
    return TrainingSequences(
        tokens,
        num_items=optimisation.num_sequences,
        first=first_sequence(settings.seed, len(tokens)),
        num_epochs=settings.num_epochs,
        prefixes=prefixes,
    )


def _source(
    checkpoint: Path, intervention: Path | None, settings: InjectKnowledge
) -> dict[str, Any]:
    """Describe the run by content, so that equal runs give equal manifests wherever they are."""
    return {
        "kind": "inject_knowledge",
        "recipe": settings.model_dump(mode="json", exclude={"seed"}),
        "seed": settings.seed,
        "checkpoint_sha256": hash_file(checkpoint),
        "intervention_sha256": None if intervention is None else hash_file(intervention),
    }


if __name__ == "__main__":
    main(run)
