"""A branch: training on from a checkpoint, which without steps is the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ke_steps import branch_checkpoint
from ke_steps.artefacts.learning_schemas import TRAINING
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.sequences import read_sequences
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model
from ke_steps.settings.checkpoints import BranchCheckpoint
from tests.invented.models import build_sequences

SETTINGS = {
    "corpus": "old",
    "num_steps": 4,
    "batch_size_sequences": 2,
    "micro_batch_size_sequences": 1,
    "learning_rate": 1e-2,
    "schedule": "warmup_stable_decay",
    "warmup_fraction": 0.0,
    "decay_fraction": 0.99,
    "min_learning_rate_ratio": 0.1,
    "num_threads": 1,
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def old_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sequences(tmp_path_factory.mktemp("text") / "s.parquet", 10, 16, seed=3)


def branch(folder: Path, checkpoint: Path, sequences: Path, **changes: Any) -> Path:
    output = folder / "branch" / "manifest.json"
    branch_checkpoint.run(
        checkpoint=checkpoint,
        sequences=sequences,
        output_checkpoint=output,
        output_training=folder / "training.parquet",
        settings=BranchCheckpoint.model_validate(SETTINGS | changes),
    )
    return output


def rates(folder: Path) -> list[float]:
    return read_frame(folder / "training.parquet", TRAINING)["learning_rate"].to_list()


def test_without_steps_it_is_the_checkpoint_byte_for_byte(checkpoint, old_text, tmp_path) -> None:
    output = branch(tmp_path, checkpoint, old_text, num_steps=0)
    theirs = {path.name: path.read_bytes() for path in checkpoint.parent.iterdir()}
    assert {path.name: path.read_bytes() for path in output.parent.iterdir()} == theirs
    assert read_frame(tmp_path / "training.parquet", TRAINING).empty


def test_a_cooldown_is_adamw_on_the_first_sequences(checkpoint, old_text, tmp_path) -> None:
    output = branch(tmp_path, checkpoint, old_text)
    model = load_model(checkpoint, device=CPU)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in model.parameters() if p.ndim > 1 and id(p) not in embeddings]
    others = [p for p in model.parameters() if not (p.ndim > 1 and id(p) not in embeddings)]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-5)
    tokens = torch.tensor(read_sequences(old_text, vocab_size=model.config.vocab_size)).long()
    expected = [1e-2 * (0.1 + 0.9 * (4 - step) / 4) for step in (1, 2, 3, 4)]
    for step, rate in enumerate(expected):
        for group in adam.param_groups:
            group["lr"] = rate
        batch = tokens[2 * step : 2 * step + 2]
        model(input_ids=batch, labels=batch).loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
    assert rates(tmp_path) == pytest.approx(expected)
    branched = load_model(output, device=CPU).state_dict()
    for name, value in model.state_dict().items():
        assert torch.allclose(value, branched[name], atol=2e-5), name
    manifest, original = (read_checkpoint_manifest(path) for path in (output, checkpoint))
    assert manifest["step"] == original["step"]
    assert manifest["source"]["kind"] == "branch"
    assert manifest["tensors"] != original["tensors"]
    assert not list(output.parent.glob("unfinished*"))


def test_a_rising_rate_warms_up_to_its_peak(checkpoint, old_text, tmp_path) -> None:
    rising = {"schedule": "constant", "warmup_fraction": 1.0, "decay_fraction": None}
    branch(tmp_path, checkpoint, old_text, **rising)
    assert rates(tmp_path) == pytest.approx([0.25e-2, 0.5e-2, 0.75e-2, 1e-2])


def test_one_that_diverges_is_refused_and_leaves_nothing(checkpoint, old_text, tmp_path) -> None:
    with pytest.raises(UserError, match=r"the branch diverged at step \d+ of 4: lower"):
        branch(tmp_path, checkpoint, old_text, learning_rate=1e4, schedule="constant",
               decay_fraction=None)  # fmt: skip
    assert not (tmp_path / "branch" / "manifest.json").exists()
    assert not (tmp_path / "training.parquet").exists()


def test_too_few_sequences_and_too_long_ones_are_refused(checkpoint, old_text, tmp_path) -> None:
    with pytest.raises(UserError, match=r"corpora\.old\.num_sequences: .* has 10 sequences"):
        branch(tmp_path, checkpoint, old_text, num_steps=6)
    long = build_sequences(tmp_path / "long.parquet", 10, 4096)
    with pytest.raises(UserError, match=r"corpora\.old\.sequence_length_tokens: 4096 tokens"):
        branch(tmp_path, checkpoint, long)
