r"""Pretrain a small OLMo from scratch and keep checkpoints along the way.

Reads the tokenizer and the packed sequences of the pretraining corpus, which are consumed in their
order, each once. Writes one checkpoint directory per kept step (fp32 safetensors, tokenizer and
manifest; step 0 is the untrained model) and the training table: train_step, loss_nats,
learning_rate, gradient_norm, num_injected_sequences (0 here), one row per step. The learning rate
warms up linearly and, unless ``schedule`` says otherwise, falls on a cosine to the end of the run,
so that the last step is a *final* checkpoint in the paper's sense and one at half of the run a
*mid* one.

Checkpoints appear together, when the run is done. One that is ended from outside leaves
``unfinished/`` beside the first: the same command goes on from there (``training.resuming``).

    python -m ke_steps.pretrain_nursery --tokenizer results/train_tokenizer/manifest.json \
        --sequences results/prepare_corpus/pretraining/sequences.parquet \
        --output-manifests results/nursery/step0/manifest.json … \
        --output-training results/nursery/training.parquet --settings '{…}'
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, OlmoConfig, PreTrainedModel

from ke_steps.artefacts.learning_schemas import TRAINING
from ke_steps.artefacts.parquet import write_table
from ke_steps.checkpoints.checkpoint_files import (
    read_checkpoint_manifest,
    replacing,
    save_checkpoint,
)
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.models import ranks
from ke_steps.models.feed_forward import describe_model
from ke_steps.models.loading import prepare_torch
from ke_steps.settings.checkpoints import Nursery, PretrainNursery
from ke_steps.texts.tokenizers import Tokenizer, load_tokenizer
from ke_steps.training.batches import Optimisation, TrainingSequences, read_corpus
from ke_steps.training.log import Watcher
from ke_steps.training.resuming import FOLDER, Unfinished
from ke_steps.training.sharding import gather_whole
from ke_steps.training.train import Build, train

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
    *,
    tokenizer: Path,
    sequences: Path,
    output_manifests: list[Path],
    output_training: Path,
    settings: PretrainNursery,
) -> None:
    """Pretrain the nursery; ``output_manifests`` follow the order of ``settings.steps``."""
    manifest_of_step = _manifest_of_step(settings, output_manifests)
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

    def build(device: torch.device) -> PreTrainedModel:
        transformers.set_seed(settings.seed)
        return build_model(settings, words, tokens.shape[1]).to(device)

    keeper = _Keeper(settings, build, tokenizer.parent, output_manifests[0].parent / FOLDER)
    unfinished = Unfinished(output_manifests[0], keeper)
    trained = train(
        build,
        TrainingSequences(tokens, num_items=optimisation.num_sequences),
        optimisation,
        tokenizer=words,
        device=device,
        watcher=keeper,
        unfinished=unfinished,
    )
    if ranks.is_first():
        keeper.hand_over(manifest_of_step)
        write_table(output_training, trained.rows, TRAINING)
        unfinished.remove()


class _Keeper(Watcher):
    """Keeps checkpoints of a training under way, until all of them can be handed over."""

    def __init__(
        self,
        settings: PretrainNursery,
        build: Build,
        tokenizer_directory: Path,
        folder: Path,
    ) -> None:
        self._settings = settings
        self._build = build
        self._tokenizer_directory = tokenizer_directory
        self._folder = folder

    def begin(self, saved: Path | None) -> None:
        """Make sure that the checkpoints up to a saved state are still there."""
        if saved is not None:
            done = int(saved.name.rpartition("-")[2])
            for step in self._settings.steps:
                if step <= done:
                    read_checkpoint_manifest(self._kept(step))

    def observe(self, model: PreTrainedModel, step: int) -> None:
        """Keep a checkpoint if the study asks for one of this step."""
        if step not in self._settings.steps:
            return
        whole = gather_whole(model, lambda: self._build(torch.device("cpu")))
        if ranks.is_first():
            save_checkpoint(
                whole,
                self._tokenizer_directory,
                self._kept(step),
                step=step,
                source={"kind": "nursery", "seed": self._settings.seed},
                sizes=describe_model(whole),
            )

    def diverged(self, model: PreTrainedModel, step: int) -> None:
        """Refuse: there are no checkpoints of later steps to study."""
        if ranks.is_first():
            shutil.rmtree(self._folder)
        raise UserError(
            f"pretraining diverged after step {step} of {self._settings.num_steps}: lower"
            " pretrain_nursery.learning_rate"
        )

    def hand_over(self, manifest_of_step: Mapping[int, Path]) -> None:
        """Move all checkpoints to where they belong, their manifests last."""
        for step, manifest in manifest_of_step.items():
            kept = self._kept(step)
            with replacing(manifest) as directory:
                for path in kept.parent.iterdir():
                    if path != kept:
                        path.replace(directory / path.name)
                kept.replace(manifest)

    def _kept(self, step: int) -> Path:
        return self._folder / f"step{step}" / "manifest.json"


def _manifest_of_step(settings: PretrainNursery, manifests: list[Path]) -> dict[int, Path]:
    if len(manifests) != len(settings.steps):
        raise UserError(
            f"--output-manifests: {len(manifests)} paths for {len(settings.steps)} steps"
            f" ({settings.steps}), one per step is needed"
        )
    beyond = [step for step in settings.steps if step > settings.num_steps]
    if beyond:
        raise UserError(
            f"steps {beyond} are beyond the end of pretraining: pretrain_nursery.num_steps is"
            f" {settings.num_steps}"
        )
    return dict(zip(settings.steps, manifests, strict=True))


if __name__ == "__main__":
    main(run)
