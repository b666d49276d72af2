"""A checkpoint is taken out of the states of training as it is, and whole or not at all."""

import shutil

import pytest

from ke_steps import keep_checkpoint
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.job.errors import UserError
from ke_steps.settings.checkpoints import KeepCheckpoint
from tests.invented.models import build_sequences
from tests.invented.training import LENGTH, pretrain


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tokenizer_manifest):
    folder = tmp_path_factory.mktemp("nursery")
    corpus = build_sequences(folder / "s.parquet", 24, LENGTH)
    return folder, pretrain(folder, tokenizer_manifest, corpus)


def keep(folder, output, step):
    training, settings = folder / "training.parquet", KeepCheckpoint(step=step)
    keep_checkpoint.run(training=training, output=output, settings=settings)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_files_are_those_of_the_training_and_no_links(place, trained, tmp_path):
    folder, manifests = trained
    step, theirs = (0, 2, 6)[place], manifests[place].parent
    output = tmp_path / "manifest.json"
    keep(folder, output, step)
    assert read_checkpoint_manifest(output)["step"] == step
    names = sorted(path.name for path in theirs.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (theirs / name).read_bytes()
        assert (tmp_path / name).stat().st_nlink == 1


@pytest.mark.parametrize("damage", ["gone", "flipped", "no states"])
def test_a_state_that_is_not_whole_is_refused_and_leaves_nothing(damage, trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "nursery")
    weights = folder / "states/checkpoint-2/kept/model.safetensors"
    if damage == "gone":
        weights.unlink()
    elif damage == "flipped":
        content = weights.read_bytes()
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        shutil.rmtree(folder / "states")
    output = tmp_path / "step2" / "manifest.json"
    with pytest.raises(
        UserError, match=r"training\.parquet: the states .*; delete it and run again"
    ):
        keep(folder, output, 2)
    assert not output.exists()
