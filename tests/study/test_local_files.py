"""The files that a checkpoint from outside is read from: a change of any has it fetched again."""

import pytest

from ke_steps.settings.checkpoints import DirectorySource, GgufSource, HubSource
from ke_steps.study.local_files import local_weights

CONFIGS = ["config.json", "config.yaml", "tokenizer.json"]
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
PARTS = ["m[1]-00001-of-00002.gguf", "m[1]-00002-of-00002.gguf"]


@pytest.mark.parametrize(
    ("there", "read"),
    [
        ([*CONFIGS, *SHARDS], [*CONFIGS, *SHARDS]),
        ([*CONFIGS, *SHARDS, "pytorch_model.bin"], [*CONFIGS, *SHARDS]),
        ([*CONFIGS, "pytorch_model.bin", "optimizer.bin"], [*CONFIGS, "pytorch_model.bin"]),
    ],
)
def test_files_of_a_directory(tmp_path, there, read):
    folder = tmp_path / "step007"
    folder.mkdir()
    for name in (*there, "README.md"):
        (folder / name).touch()
    source = DirectorySource(kind="directory", path=f"{tmp_path}/step{{step:03d}}")
    assert local_weights(source, 7) == sorted(str(folder / name) for name in read)


def test_all_parts_of_a_split_file(tmp_path):
    for name in (*PARTS, "m1-00001-of-00002.gguf", "other.gguf"):
        (tmp_path / name).touch()
    source = GgufSource(kind="gguf", path=str(tmp_path / PARTS[0]))
    assert local_weights(source, 0) == [str(tmp_path / name) for name in PARTS]
    whole = GgufSource(kind="gguf", path=str(tmp_path / "other.gguf"))
    assert local_weights(whole, 0) == [str(tmp_path / "other.gguf")]


def test_nothing_local_of_the_hub():
    assert local_weights(HubSource(kind="hub", repo="a/b", revision="step{step}"), 0) == []
