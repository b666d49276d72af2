"""What the hub holds becomes a snapshot: the real client against a server with faults."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.checkpoints.weight_files import choose_weights
from ke_steps.hub.snapshots import fetch_snapshot
from ke_steps.models.loading import load_model
from tests.invented.hub_checkpoints import (
    REPO,
    WEIGHTS,
    blob_of,
    build_files,
    fetch_from_hub,
    refuse,
)
from tests.invented.hub_server import read_files
from tests.invented.models import build_model, random_sequences
from tests.invented.pickles import RunsCommand, save_bytes, save_pickled

CPU = torch.device("cpu")


def test_a_branch_becomes_a_checkpoint(hub, tmp_path):
    manifest = fetch_from_hub(tmp_path / "out" / "manifest.json")
    described = read_checkpoint_manifest(manifest)
    assert described["source"] == {
        "kind": "hub",
        "repo": REPO,
        "revision": "step10-tokens1B",
        "commit": hub.commit(REPO, "step10-tokens1B"),
    }
    link = manifest.parent / WEIGHTS
    assert link.is_symlink()
    assert link.readlink() == blob_of(hub, "step10-tokens1B").resolve()
    expected = build_model("olmo", seed=1)
    loaded = load_model(manifest, device=CPU)
    ids = torch.tensor(random_sequences(2, 8))
    with torch.inference_mode():
        assert torch.equal(expected(ids).logits, loaded(ids).logits)


def test_only_what_is_needed_is_downloaded(hub, tmp_path):
    fetch_from_hub(tmp_path / "out" / "manifest.json")
    assert not hub.find("README.md")
    assert not hub.find("pytorch_model.bin")
    files = hub.repos[REPO]["step10-tokens1B"]
    needed = sum(
        len(files[name])
        for name in (
            WEIGHTS, "config.json", "generation_config.json",
            "tokenizer.json", "tokenizer_config.json",
        )
    )  # fmt: skip
    assert hub.sent_bytes == needed


def test_a_native_checkpoint_comes_with_its_yaml(hub):
    files = hub.repos[REPO]["native-unsharded"] = {
        WEIGHTS: b"weights", "config.yaml": b"model: {}", "tokenizer.json": b"{}", "train.pt": b"x"
    }  # fmt: skip
    snapshot = fetch_snapshot(REPO, "native-*", 10, choose=choose_weights)
    assert read_files(snapshot.directory) == {
        name: content for name, content in files.items() if name != "train.pt"
    }


def test_a_second_study_downloads_nothing(hub, tmp_path):
    first = fetch_from_hub(tmp_path / "one" / "manifest.json").read_bytes()
    hub.requests.clear()
    assert fetch_from_hub(tmp_path / "two" / "manifest.json").read_bytes() == first
    assert hub.requests
    assert all("/api/" in request.path for request in hub.requests)


def test_shards_are_all_fetched(hub, tmp_path):
    files = build_files(tmp_path / "sharded", seed=3, max_shard_size="40KB")
    shards = [name for name in files if name.endswith(".safetensors")]
    assert len(shards) > 2
    hub.repos[REPO]["step30"] = files
    manifest = fetch_from_hub(tmp_path / "out" / "manifest.json", step=30, revision="step{step}")
    loaded = load_model(manifest, device=CPU).state_dict()
    for name, tensor in build_model("olmo", seed=3).state_dict().items():
        assert torch.equal(tensor, loaded[name])


def test_a_dropped_connection_resumes(hub, tmp_path):
    hub.fail("/cdn/", method="GET", cut_after_bytes=5500)
    fetch_from_hub(tmp_path / "out" / "manifest.json")
    first, second = hub.find("/cdn/", method="GET")
    assert first.range is None
    assert second.range == "bytes=5000-"


def test_a_killed_download_resumes_in_the_next_run(hub, tmp_path):
    hub.fail("/cdn/", method="GET", cut_after_bytes=5500)
    hub.fail("/cdn/", method="GET", status=403, times=1)
    refuse(tmp_path, r"localhost answers 403")
    partial = Path(f"{blob_of(hub, 'step10-tokens1B')}.partial")
    assert partial.stat().st_size == 5000
    hub.requests.clear()
    fetch_from_hub(tmp_path / "out" / "manifest.json")
    assert [request.range for request in hub.find("/cdn/")] == ["bytes=5000-"]
    assert not partial.exists()


@pytest.mark.parametrize("excess_bytes", [0, 100])
def test_a_partial_file_that_is_no_part_is_thrown_away(hub, tmp_path, excess_bytes):
    partial = Path(f"{blob_of(hub, 'step10-tokens1B')}.partial")
    partial.parent.mkdir(parents=True)
    content = hub.repos[REPO]["step10-tokens1B"][WEIGHTS]
    partial.write_bytes(bytes(len(content) + excess_bytes))
    manifest = fetch_from_hub(tmp_path / "out" / "manifest.json")
    assert (manifest.parent / WEIGHTS).read_bytes() == content


def test_a_truncated_answer_is_completed(hub, tmp_path):
    hub.fail("/cdn/", method="GET", truncate_to_bytes=5500)
    fetch_from_hub(tmp_path / "out" / "manifest.json")
    assert [request.range for request in hub.find("/cdn/")] == [None, "bytes=5500-"]


def test_a_wrong_hash_is_fetched_again(hub, tmp_path):
    hub.fail("/cdn/", method="GET", corrupt=True)
    manifest = fetch_from_hub(tmp_path / "out" / "manifest.json")
    assert [request.range for request in hub.find("/cdn/")] == [None, None]
    content = (manifest.parent / WEIGHTS).read_bytes()
    assert content == hub.repos[REPO]["step10-tokens1B"][WEIGHTS]


@pytest.mark.parametrize(("where", "name"), [("/cdn/", WEIGHTS), ("/tokenizer.json", "tokenizer")])
def test_a_lasting_wrong_hash_is_refused(hub, tmp_path, where, name):
    hub.fail(where, method="GET", corrupt=True, times=None)
    refuse(tmp_path, rf"{name}.* of commit [0-9a-f]{{8}} arrived twice with another content than")
    assert len(hub.find(where, method="GET")) == 2
    blobs = blob_of(hub, "step10-tokens1B").parent
    assert not list(blobs.glob("*.partial"))


def test_a_damaged_cache_is_repaired(hub, tmp_path):
    fetch_from_hub(tmp_path / "one" / "manifest.json")
    blob = blob_of(hub, "step10-tokens1B")
    content = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(content[:-1] + b"x")
    fetch_from_hub(tmp_path / "two" / "manifest.json")
    assert blob.read_bytes() == content


def test_other_pickles_alone_are_refused(hub, tmp_path):
    files = hub.repos[REPO]["step10-tokens1B"]
    del files[WEIGHTS]
    files["model.pt"] = files.pop("pytorch_model.bin")
    refuse(tmp_path, r"tiny-hf@step10-tokens1B: model\.pt is a pickle.*refused")
    del files["model.pt"]
    refuse(tmp_path, r"neither model\.safetensors nor model\.safetensors\.index\.json")
    assert not hub.find("/resolve/")


@pytest.mark.parametrize("num_shards", [1, 2])
def test_weights_that_exist_as_pickles_alone(hub, tmp_path, num_shards):
    files = hub.repos[REPO]["step10-tokens1B"]
    (tmp_path / WEIGHTS).write_bytes(files.pop(WEIGHTS))
    del files["pytorch_model.bin"]
    tensors = load_file(tmp_path / WEIGHTS)
    save_pickled(tensors, tmp_path / "pickled", num_shards)
    files |= read_files(tmp_path / "pickled") | {"optimizer.bin": b"another pickle"}
    hub.fail("/cdn/", method="GET", corrupt=True)  # its hash tells, and it is fetched again
    manifest = fetch_from_hub(tmp_path / "out" / "manifest.json")
    assert len(hub.find("/cdn/", method="GET")) == num_shards + 1
    assert not hub.find("optimizer.bin")
    assert not any(path.is_symlink() for path in manifest.parent.iterdir())
    loaded = load_model(manifest, device=CPU).state_dict()
    for name, tensor in build_model("olmo", seed=1).state_dict().items():
        assert torch.equal(tensor, loaded[name])


def test_a_malicious_pickle_of_the_hub_is_not_run(hub, tmp_path):
    files = hub.repos[REPO]["step10-tokens1B"]
    del files[WEIGHTS]
    marker = tmp_path / "ran"
    files["pytorch_model.bin"] = save_bytes({"a": RunsCommand(f"touch {marker}")})
    refuse(tmp_path, r"pytorch_model\.bin: needs more than tensors: it calls posix\.system")
    assert not marker.exists()


def test_too_little_disk_is_refused_before_the_download(hub, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    refuse(tmp_path, r"tiny-hf@step10-tokens1B: needs 0\.\d\d GB, but .* has 0\.00 GB free")
    assert not hub.find("/resolve/")


def test_a_cache_that_cannot_be_made_is_refused(hub, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    refuse(tmp_path, "file/hub: Not a directory; set HF_HOME")


def test_two_at_once_download_once(hub, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        fetching = partial(fetch_snapshot, REPO, "step{step}-*", 10, choose=choose_weights)
        futures = [pool.submit(fetching) for _ in range(2)]
    assert futures[0].result() == futures[1].result()
    assert len(hub.find("/cdn/", method="GET")) == 1


def test_what_is_cached_needs_no_disk(hub, tmp_path, monkeypatch):
    fetch_from_hub(tmp_path / "one" / "manifest.json")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    fetch_from_hub(tmp_path / "two" / "manifest.json")


def test_damaged_weights_are_refused_though_the_hub_has_them_so(hub, tmp_path):
    files = hub.repos[REPO]["step10-tokens1B"]
    path = tmp_path / WEIGHTS
    path.write_bytes(files[WEIGHTS])
    tensors = load_file(path)
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = np.nan
    save_file(tensors, path, metadata={"format": "pt"})
    files[WEIGHTS] = path.read_bytes()
    refuse(tmp_path, r"tensor model\.layers\.0\.mlp\.up_proj\.weight holds NaN or Inf")


def test_offline_uses_the_cache(hub, tmp_path, monkeypatch):
    online = fetch_from_hub(tmp_path / "one" / "manifest.json").read_bytes()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert fetch_from_hub(tmp_path / "two" / "manifest.json").read_bytes() == online
    commit = hub.commit(REPO, "step10-tokens1B")
    fetch_from_hub(tmp_path / "three" / "manifest.json", revision=commit)
    refuse(
        tmp_path,
        "in the cache .*HF_HUB_OFFLINE is set: .*no branch or tag matches 'step20-.*step10-tokens",
        step=20,
    )
    refuse(tmp_path, "was never downloaded", revision="0" * 40)
    refuse(tmp_path, "nearest: none that has a number", repo="allenai/nothing")
    assert not hub.requests


def test_offline_after_a_failed_download_says_so(hub, tmp_path, monkeypatch):
    fetch_from_hub(tmp_path / "one" / "manifest.json")
    hub.fail("/cdn/", status=403)
    refuse(tmp_path, "answers 403", step=20)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refuse(tmp_path, "step20-tokens2B was never downloaded", step=20)
    fetch_from_hub(tmp_path / "two" / "manifest.json")


def test_a_moved_branch_is_a_new_commit(hub, tmp_path):
    first = json.loads(fetch_from_hub(tmp_path / "one" / "manifest.json").read_text())
    hub.repos[REPO]["step10-tokens1B"] = hub.repos[REPO]["step20-tokens2B"]
    second = json.loads(fetch_from_hub(tmp_path / "two" / "manifest.json").read_text())
    assert first["source"]["commit"] != second["source"]["commit"]
    assert first["tensors"] != second["tensors"]


FETCH = """
import sys
from ke_steps.checkpoints.weight_files import choose_weights
from ke_steps.hub.snapshots import fetch_snapshot
snapshot = fetch_snapshot(sys.argv[1], "step{step}-*", 20, choose=choose_weights)
print(snapshot.directory, snapshot.ref.name)
"""


def test_the_clients_environment_variables(hub, tmp_path):
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", FETCH, REPO]
    online = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    directory, ref = online.stdout.decode().split()
    assert directory.startswith(str(tmp_path / "home"))
    assert ref == "step20-tokens2B"
    hub.requests.clear()
    environment["HF_HUB_OFFLINE"] = "1"
    offline = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    assert offline.stdout == online.stdout
    assert not hub.requests
