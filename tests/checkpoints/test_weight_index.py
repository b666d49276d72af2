"""Weights in several files, and indexes as converters and hands have left them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ke_steps.checkpoints.weight_files import INDEX, WEIGHTS, choose_weights
from ke_steps.hub.snapshots import fetch_snapshot
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model
from tests.invented.fetching import fetch_local
from tests.invented.hub_client import point_client_at
from tests.invented.hub_server import HubServer, read_files
from tests.invented.models import build_model, build_tokenizer, random_sequences

CPU = torch.device("cpu")


@pytest.fixture
def model():
    return build_model("llama")


@pytest.fixture
def source(model, tmp_path):
    """A directory of several shards."""
    model.save_pretrained(tmp_path / "source", max_shard_size="50KB")
    build_tokenizer(tmp_path / "source")
    assert len(shards_of(tmp_path / "source")) > 2
    return tmp_path / "source"


def shards_of(directory):
    return sorted(directory.glob("*-of-*.safetensors"))


def change_index(source, **changes):
    """Change keys of the index; a change to ``...`` removes the key."""
    content = json.loads((source / INDEX).read_text()) | changes
    content = {key: value for key, value in content.items() if value is not ...}
    (source / INDEX).write_text(json.dumps(content))


def fetch(source):
    return fetch_local(source, source.with_name("out") / "manifest.json")


def refuse(source):
    with pytest.raises(UserError) as refusal:
        fetch(source)
    assert "\n" not in str(refusal.value)
    assert not list(source.with_name("out").iterdir())
    return str(refusal.value)


def check_logits(model, manifest):
    """Compare with the model in memory, which no file was between."""
    ids = torch.tensor(random_sequences(2, 8))
    with torch.inference_mode():
        assert torch.equal(load_model(manifest, device=CPU)(ids).logits, model(ids).logits)


@pytest.mark.parametrize("metadata", [..., None, [], "none", {}, {"total_size": "1"}], ids=repr)
def test_an_index_needs_no_metadata(model, source, metadata):
    change_index(source, metadata=metadata)
    before = (source / INDEX).read_bytes()
    check_logits(model, fetch(source))
    assert (source / INDEX).read_bytes() == before


def test_tensors_are_found_wherever_the_index_has_them(model, source):
    """As transformers reads them: every tensor of every file that the index names."""
    content = json.loads((source / INDEX).read_text())["weight_map"]
    files = sorted(set(content.values()))
    moved = {
        tensor: files[(files.index(name) + 1) % len(files)] for tensor, name in content.items()
    }
    moved["model.layers.0.of_an_older_version"] = files[0]
    change_index(source, weight_map=moved)
    manifest = fetch(source)
    check_logits(model, manifest)
    written = json.loads((manifest.parent / INDEX).read_text())["weight_map"]
    assert written == content


BAD_MAPS = {
    "missing": (..., "has no weight_map of tensors to files; get it again"),
    "null": (None, "has no weight_map of tensors to files"),
    "empty": ({}, "has no weight_map of tensors to files"),
    "a list": (["model.norm.weight"], "has no weight_map of tensors to files"),
    "a file that is not there": ({"a": "b.safetensors"}, "names b.safetensors, which is missing"),
    "a file elsewhere": (
        {"a": "../b.safetensors"},
        "names '../b.safetensors', which is not a file",
    ),
    "no file": ({"a": None}, "names None, which is missing"),
    "a number": ({"a": 3}, "names 3, which is missing"),
}


@pytest.mark.parametrize("what", BAD_MAPS)
def test_a_bad_map_is_one_line_that_names_the_index(source, what):
    weight_map, says = BAD_MAPS[what]
    change_index(source, weight_map=weight_map)
    assert refuse(source).startswith(f"{source / INDEX}: {says}")


@pytest.mark.parametrize("content", ["", "[]", "null", '{"weight_map": {', "\x00", "[" * 10**5])
def test_an_index_that_is_no_json_object_is_one_line(source, content):
    (source / INDEX).write_text(content)
    assert refuse(source).startswith(f"{source / INDEX}: not a readable JSON file (")


def test_a_tensor_in_two_shards_is_refused(source):
    """Of the two the last one would be loaded, whichever the index means."""
    first, second, *_ = shards_of(source)
    name = min(load_file(first))
    save_file(load_file(second) | {name: load_file(first)[name] + 1}, second, {"format": "pt"})
    assert refuse(source) == (
        f"{second}: tensor {name} is in {first.name}, too; get the files again"
    )


def test_a_single_file_comes_before_an_index(model, source):
    other = build_model("llama", seed=1)
    save_file(dict(other.state_dict()), source / WEIGHTS, {"format": "pt"})
    manifest = fetch(source)
    check_logits(other, manifest)
    assert not (manifest.parent / INDEX).exists()


def test_an_error_of_loading_names_the_source(source):
    content = json.loads((source / INDEX).read_text())["weight_map"]
    last = shards_of(source)[-1].name
    missing = min(tensor for tensor, name in content.items() if name == last)
    change_index(source, weight_map={k: v for k, v in content.items() if v != last})
    assert refuse(source) == f"{source}: tensor {missing} is missing; get all its files"


def test_shards_of_other_names_come_from_the_hub(source, tmp_path, monkeypatch):
    weight_map = json.loads((source / INDEX).read_text())["weight_map"]
    for path in shards_of(source):
        path.rename(source / f"pytorch_{path.name}")
    change_index(source, weight_map={key: f"pytorch_{name}" for key, name in weight_map.items()})
    with HubServer({"o/m": {"step3": read_files(source)}}) as server:
        point_client_at(server, tmp_path / "cache", monkeypatch)
        snapshot = fetch_snapshot("o/m", "step{step}", 3, choose=choose_weights)
    assert {path.name for path in shards_of(snapshot.directory)} == {
        f"pytorch_{name}" for name in weight_map.values()
    }
