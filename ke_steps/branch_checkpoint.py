r"""Train a checkpoint some steps further on a text, with a learning rate of its own.

Reads a checkpoint and the packed sequences of a corpus, each consumed once, from the first on.
AdamW starts anew, as no checkpoint has its moments. Writes the checkpoint after the last step (fp32
safetensors; its manifest keeps the step of the checkpoint that it branches off) and the training
table: train_step, loss_nats, learning_rate, gradient_norm, num_injected_sequences (0 here).

With a rate that falls this is a cooldown: checkpoints from the middle of a schedule, and its end,
come to one final rate before they are compared. With one that rises, a checkpoint is re-warmed on
text that it knows: what learning does to it without anything new. Without steps the branch is the
checkpoint, byte for byte.

Training that is ended from outside leaves ``unfinished/`` beside the checkpoint: the same command
goes on from there (``training.resuming``). One that diverges is refused.

    python -m ke_steps.branch_checkpoint --checkpoint …/m/step200/manifest.json \
        --sequences results/prepare_corpus/m/pretraining/sequences.parquet \
        --output-checkpoint …/manifest.json --output-training …/training.parquet --settings '{…}'
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ke_steps.artefacts.learning_schemas import TRAINING
from ke_steps.artefacts.manifests import verify_weights
from ke_steps.artefacts.parquet import write_table
from ke_steps.checkpoints.checkpoint_files import (
    read_checkpoint_manifest,
    replacing,
    save_checkpoint,
)
from ke_steps.checkpoints.families import read_model_config
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file
from ke_steps.models import ranks
from ke_steps.models.feed_forward import describe_model
from ke_steps.models.loading import load_model, prepare_torch
from ke_steps.models.parts import Shard
from ke_steps.settings.checkpoints import BranchCheckpoint
from ke_steps.texts.tokenizers import load_tokenizer
from ke_steps.training.batches import Optimisation, TrainingSequences, read_corpus
from ke_steps.training.log import Watcher
from ke_steps.training.resuming import Unfinished
from ke_steps.training.train import train


def run(
    *,
    checkpoint: Path,
    sequences: Path,
    output_checkpoint: Path,
    output_training: Path,
    settings: BranchCheckpoint,
) -> None:
    """Write the checkpoint at the end of the branch, and its training table."""
    if settings.num_steps:
        rows = _train(checkpoint, sequences, output_checkpoint, settings)
    else:
        rows = []
        _copy(checkpoint, output_checkpoint)
    if ranks.is_first():
        write_table(output_training, rows, TRAINING)


def _copy(checkpoint: Path, output: Path) -> None:
    if not ranks.is_first():
        return
    manifest = read_checkpoint_manifest(checkpoint)
    verify_weights(checkpoint)
    with replacing(output) as directory:
        for name in manifest["files"]:
            shutil.copyfile(checkpoint.with_name(name), directory / name)
        shutil.copyfile(checkpoint, output)


def _train(
    checkpoint: Path, sequences: Path, output: Path, settings: BranchCheckpoint
) -> list[dict[str, Any]]:
    """Return the rows of the training table."""
    device = prepare_torch(settings.num_threads, 0)
    optimisation = Optimisation.of(settings)
    watcher = _Refusing(settings)
    unfinished = Unfinished(output, watcher)
    trained = train(
        partial(_load, checkpoint),
        TrainingSequences(
            _tokens(sequences, checkpoint, optimisation, settings.corpus),
            num_items=optimisation.num_sequences,
        ),
        optimisation,
        tokenizer=load_tokenizer(checkpoint.parent),
        device=device,
        watcher=watcher,
        unfinished=unfinished,
    )
    if not ranks.is_first():
        return []
    if trained.diverged_at_step is not None:
        unfinished.remove()
        raise _diverged(trained.diverged_at_step, settings)
    said = settings.model_dump(mode="json", exclude={"num_threads"})
    save_checkpoint(
        trained.model,
        checkpoint.parent,
        output,
        step=read_checkpoint_manifest(checkpoint)["step"],
        source={"kind": "branch", **said, "checkpoint_sha256": hash_file(checkpoint)},
        sizes=describe_model(trained.model),
    )
    unfinished.remove()
    return trained.rows


def _load(checkpoint: Path, device: torch.device, shard: Shard | None) -> PreTrainedModel:
    return load_model(checkpoint, device=device, shard=shard)


def _tokens(
    sequences: Path, checkpoint: Path, optimisation: Optimisation, corpus: str
) -> NDArray[Any]:
    config = read_model_config(checkpoint.parent)
    tokens = read_corpus(sequences, optimisation, vocab_size=config.vocab_size, corpus=corpus)
    if tokens.shape[1] > config.max_position_embeddings:
        raise UserError(
            f"corpora.{corpus}.sequence_length_tokens: {tokens.shape[1]} tokens are more than the"
            f" model's context of {config.max_position_embeddings}"
        )
    return tokens


class _Refusing(Watcher):
    """Ends a branch that diverges: there is no checkpoint to study."""

    def __init__(self, settings: BranchCheckpoint) -> None:
        self._settings = settings

    def diverged(self, model: PreTrainedModel, step: int) -> None:
        """Refuse."""
        raise _diverged(step + 1, self._settings)


def _diverged(step: int, settings: BranchCheckpoint) -> UserError:
    return UserError(
        f"the branch diverged at step {step} of {settings.num_steps}: lower learning_rate in the"
        " model's source"
    )


if __name__ == "__main__":
    main(run)
