r"""Pretrain a small OLMo from scratch, and keep it as it is at some steps.

Reads the tokenizer and the packed sequences of the pretraining corpus, each consumed once in an
epoch: in their order with seed 0, in one drawn by any other seed. Writes the training table:
train_step, loss_nats, learning_rate, gradient_norm, num_injected_sequences (0 here), one row per
step. The learning rate warms up linearly and, unless ``schedule`` says otherwise, falls on a cosine
to the end of the run, so that the last step is a *final* checkpoint in the paper's sense and one at
half of the run a *mid* one.

Beside the table lies ``states/`` (``training.kept_states``): for each step of ``steps``, and the
last, the state of training with the checkpoint (fp32 safetensors, tokenizer and manifest; step 0 is
the untrained model), from where ``keep_checkpoint`` takes it. What a checkpoint is does not depend
on which others are asked for. A job of the same training that asks for other steps trains what is
missing alone, and one that was ended from outside goes on where it was: the same bytes.

    python -m ke_steps.pretrain_nursery --tokenizer results/train_tokenizer/m/manifest.json \
        --sequences results/prepare_corpus/m/pretraining/sequences.parquet \
        --output-training results/pretrain_nursery/m/training.parquet --settings '{…}'
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, OlmoConfig, PreTrainedModel

from ke_steps.artefacts.learning_schemas import TRAINING
from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.places import kept_checkpoint, state_of
from ke_steps.checkpoints.checkpoint_files import save_checkpoint
from ke_steps.job import provenance
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.models import ranks
from ke_steps.models.feed_forward import describe_model
from ke_steps.models.loading import prepare_torch
from ke_steps.models.parts import Shard
from ke_steps.settings.checkpoints import Nursery, PretrainNursery
from ke_steps.texts.tokenizers import Tokenizer, load_tokenizer
from ke_steps.training.batches import Optimisation, TrainingSequences, read_corpus
from ke_steps.training.kept_states import KeptStates
from ke_steps.training.log import Watcher, saved_rows
from ke_steps.training.sharding import gather_whole
from ke_steps.training.train import train

MAX_GRADIENT_NORM = 1.0


def build_model(
    nursery: Nursery, tokenizer: Tokenizer, sequence_length_tokens: int
) -> PreTrainedModel:
    """Build the untrained model: SwiGLU, rotary positions, norms without weights.

    Its context is one sequence of the corpus. Weights are drawn from torch's global generator.
    """
    config = OlmoConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=nursery.hidden_size,
        intermediate_size=nursery.intermediate_size,
        num_hidden_layers=nursery.num_hidden_layers,
        num_attention_heads=nursery.num_attention_heads,
        max_position_embeddings=sequence_length_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=nursery.tie_word_embeddings,
        use_cache=False,  # as Trainer leaves it, so that all checkpoints have one config
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def run(
    *, tokenizer: Path, sequences: Path, output_training: Path, settings: PretrainNursery
) -> None:
    """Pretrain the nursery; what is there of the same training already is not done again."""
    _refuse_beyond(settings)
    provenance.disregard("steps")
    device = prepare_torch(settings.num_threads, settings.seed)
    words = load_tokenizer(tokenizer.parent)
    optimisation = Optimisation.of(
        settings,
        micro_batch_size_sequences=settings.batch_size_sequences,
        max_gradient_norm=MAX_GRADIENT_NORM,
        precision="fp32",
    )
    tokens = read_corpus(
        sequences,
        optimisation,
        vocab_size=words.vocab_size,
        corpus=settings.corpus,
    )

    def build(device: torch.device, shard: Shard | None = None) -> PreTrainedModel:
        transformers.set_seed(settings.seed)
        model = build_model(settings, words, tokens.shape[1])
        if shard is None:
            return model.to(device)
        shard(model)
        return model

    kept = {*settings.steps, settings.num_steps}
    keeper = _Keeper(settings, kept, tokenizer.parent)
    states = KeptStates(output_training, keeper, kept)
    states.take_stock()
    if states.are_missing(first=True):
        states.writer.begin()
        keeper.observe(build(torch.device("cpu")), 0)
        states.complete(0)
        states.finish_writing()
    while states.are_missing():
        train(
            build,
            TrainingSequences(
                tokens,
                num_items=optimisation.num_sequences,
                num_epochs=settings.num_epochs,
                order=order_of(settings.seed, len(tokens)),
            ),
            optimisation,
            tokenizer=words,
            device=device,
            watcher=keeper,
            unfinished=states,
        )
    if ranks.is_first():
        states.finish()
        write_table(output_training, saved_rows(states.state_of(settings.num_steps)), TRAINING)


def order_of(seed: int, num_sequences: int) -> NDArray[np.int64] | None:
    """Return the order (num_sequences,) in which sequences are consumed; None as they are."""
    return np.random.default_rng(seed).permutation(num_sequences) if seed else None


class _Keeper(Watcher):
    """Puts a checkpoint into the training state of each step that is kept."""

    def __init__(
        self,
        settings: PretrainNursery,
        steps: Collection[int],
        tokenizer_directory: Path,
    ) -> None:
        self._settings = settings
        self._steps = steps
        self._tokenizer_directory = tokenizer_directory
        self._observed: tuple[int, PreTrainedModel] | None = None

    def observe(self, model: PreTrainedModel, step: int) -> None:
        """Have the whole model at hand where it will be saved."""
        if step in self._steps:
            self._observed = step, gather_whole(model)

    def save(self, folder: Path) -> None:
        """Add the checkpoint to the state of its step; one saved in between has none."""
        if self._observed is None or folder != state_of(folder.parent, self._observed[0]):
            return
        step, model = self._observed
        said = self._settings.model_dump(exclude={"steps", "num_threads"})
        save_checkpoint(
            model,
            self._tokenizer_directory,
            kept_checkpoint(folder),
            step=step,
            source={"kind": "nursery"} | said,
            sizes=describe_model(model),
        )

    def diverged(self, model: PreTrainedModel, step: int) -> None:
        """Refuse: there are no checkpoints of later steps to study."""
        raise UserError(
            f"pretraining diverged after step {step} of {self._settings.num_steps}: lower"
            " learning_rate, in pretrain_nursery or the model's source"
        )


def _refuse_beyond(settings: PretrainNursery) -> None:
    beyond = [step for step in settings.steps if step > settings.num_steps]
    if beyond:
        raise UserError(
            f"steps {beyond} are beyond the end of pretraining: num_steps is {settings.num_steps}"
        )


if __name__ == "__main__":
    main(run)
