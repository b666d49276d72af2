"""Checkpoints from the hub: the real client against a server on loopback, with faults."""

import hashlib
import json
import os
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

from ke_steps import fetch_checkpoint
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.checkpoints.weight_files import choose_weights
from ke_steps.hub import calls
from ke_steps.hub.calls import MAX_WAIT_SECONDS
from ke_steps.hub.refs import Ref, choose_ref, nearest_refs
from ke_steps.hub.snapshots import fetch_snapshot, shutil
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model
from ke_steps.settings.checkpoints import FetchCheckpoint
from tests.invented.hub_server import HubServer, read_files
from tests.invented.models import build_model, build_tokenizer, random_sequences

REPO = "allenai/tiny-hf"
CPU = torch.device("cpu")
WEIGHTS = "model.safetensors"


def build_files(directory, *, seed=0, **overrides):
    """Return {path: content} of a tiny OLMo's repository, README and pickle included."""
    build_model("olmo", seed=seed).save_pretrained(directory, **overrides)
    build_tokenizer(directory)
    return read_files(directory) | {"README.md": b"# tiny", "pytorch_model.bin": b"a pickle"}


@pytest.fixture(scope="session")
def branches(tmp_path_factory):
    """Three branches with other weights each."""
    return {
        ref: build_files(tmp_path_factory.mktemp("repo"), seed=seed)
        for seed, ref in enumerate(["main", "step10-tokens1B", "step20-tokens2B"])
    }


@pytest.fixture
def hub(branches, tmp_path, monkeypatch):
    """Return a server with one repo; the client talks to it, with an empty cache."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer({REPO: {ref: dict(files) for ref, files in branches.items()}}) as server:
        constants = huggingface_hub.constants
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        # the client resumes at a multiple of it
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
        monkeypatch.setattr(calls, "WAITS_SECONDS", (0, 0, 0))
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield server


def fetch(manifest, *, step=10, revision="step{step}-*", repo=REPO):
    settings = FetchCheckpoint.model_validate(
        {"source": {"kind": "hub", "repo": repo, "revision": revision}, "step": step}
    )
    fetch_checkpoint.run(output=manifest, settings=settings)
    return manifest


def refuse(tmp_path, match, **keywords):
    """Check that fetching ends in one line that matches, and leaves no manifest."""
    manifest = tmp_path / "out" / "manifest.json"
    with pytest.raises(UserError, match=match) as refusal:
        fetch(manifest, **keywords)
    assert "\n" not in str(refusal.value)
    assert not manifest.exists()


def blob_of(hub, ref, name=WEIGHTS):
    """Return where the cache keeps the content of a weight file."""
    digest = hashlib.sha256(hub.repos[REPO][ref][name]).hexdigest()
    cache = huggingface_hub.constants.HF_HUB_CACHE
    return Path(cache) / "models--allenai--tiny-hf" / "blobs" / digest


def test_a_branch_becomes_a_checkpoint(hub, tmp_path):
    manifest = fetch(tmp_path / "out" / "manifest.json")
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
    fetch(tmp_path / "out" / "manifest.json")
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
    first = fetch(tmp_path / "one" / "manifest.json").read_bytes()
    hub.requests.clear()
    assert fetch(tmp_path / "two" / "manifest.json").read_bytes() == first
    assert hub.requests
    assert all("/api/" in request.path for request in hub.requests)


def test_shards_are_all_fetched(hub, tmp_path):
    files = build_files(tmp_path / "sharded", seed=3, max_shard_size="40KB")
    shards = [name for name in files if name.endswith(".safetensors")]
    assert len(shards) > 2
    hub.repos[REPO]["step30"] = files
    manifest = fetch(tmp_path / "out" / "manifest.json", step=30, revision="step{step}")
    loaded = load_model(manifest, device=CPU).state_dict()
    for name, tensor in build_model("olmo", seed=3).state_dict().items():
        assert torch.equal(tensor, loaded[name])


def test_a_tag_and_a_commit_are_found_too(hub, tmp_path):
    files = hub.repos[REPO].pop("step20-tokens2B")
    hub.repos[REPO]["refs/tags/v20"] = files
    manifest = fetch(tmp_path / "out" / "manifest.json", step=20, revision="v{step}")
    commit = hub.commit(REPO, "refs/tags/v20")
    source = json.loads(manifest.read_text())["source"]
    assert (source["revision"], source["commit"]) == ("v20", commit)
    again = fetch(tmp_path / "again" / "manifest.json", step=20, revision=commit)
    assert json.loads(again.read_text())["source"]["commit"] == commit


@pytest.mark.parametrize(
    ("revision", "step", "message"),
    [
        (
            "step{step}-*",
            19,
            r"tiny-hf: source\.revision 'step\{step\}-\*': no branch or tag matches 'step19-\*';"
            r" nearest: step20-tokens2B, step10-tokens1B",
        ),
        ("*", 10, r"'\*' matches 3 branches and tags \(main, step10-tokens1B, step20-tokens2B\)"),
        ("step{step}", 10, r"no branch or tag matches 'step10'; nearest: step10-tokens1B, step20"),
    ],
)
def test_refs_that_do_not_fit(hub, tmp_path, revision, step, message):
    refuse(tmp_path, message, revision=revision, step=step)
    assert not hub.find("/resolve/")


REFS = [
    Ref(name, f"{index:040x}")
    for index, name in enumerate(
        ["main", "stage1-step100-tokens1B", "stage1-step1000-tokens5B", "stage2-step100-tokens9B"]
    )
]


def test_the_step_alone_decides():
    assert choose_ref(REFS, "stage1-step{step}-*", 100, where="r") == REFS[1]
    assert choose_ref(REFS, "*1-step{step}*5B", 1000, where="r") == REFS[2]
    assert choose_ref(REFS, "main", 7, where="r") == REFS[0]
    with pytest.raises(UserError, match="matches 2 branches and tags"):
        choose_ref(REFS, "*-step{step}-*", 100, where="r")


def test_one_name_of_two_commits_is_refused():
    with pytest.raises(UserError, match=r"'v1' matches 2 branches and tags \(v1, v1\)"):
        choose_ref([Ref("v1", "a" * 40), Ref("v1", "b" * 40)], "v1", 1, where="r")


@pytest.mark.parametrize(
    ("names", "step", "expected"),
    [
        (["step5-tokens400B", "step300-tokens9B"], 390, ["step300-tokens9B", "step5-tokens400B"]),
        (["v1.0", "v12", "main"], 11, ["v12", "v1.0"]),
        (["step3", "step1", "step9", "step4"], 2, ["step1", "step3", "step4"]),
        (["main"], 5, []),
    ],
)
def test_nearest_refs(names, step, expected):
    assert nearest_refs(names, step) == expected


def test_a_dropped_connection_resumes(hub, tmp_path):
    hub.fail("/cdn/", method="GET", cut_after_bytes=5500)
    fetch(tmp_path / "out" / "manifest.json")
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
    fetch(tmp_path / "out" / "manifest.json")
    assert [request.range for request in hub.find("/cdn/")] == ["bytes=5000-"]
    assert not partial.exists()


@pytest.mark.parametrize("excess_bytes", [0, 100])
def test_a_partial_file_that_is_no_part_is_thrown_away(hub, tmp_path, excess_bytes):
    partial = Path(f"{blob_of(hub, 'step10-tokens1B')}.partial")
    partial.parent.mkdir(parents=True)
    content = hub.repos[REPO]["step10-tokens1B"][WEIGHTS]
    partial.write_bytes(bytes(len(content) + excess_bytes))
    manifest = fetch(tmp_path / "out" / "manifest.json")
    assert (manifest.parent / WEIGHTS).read_bytes() == content


def test_a_truncated_answer_is_completed(hub, tmp_path):
    hub.fail("/cdn/", method="GET", truncate_to_bytes=5500)
    fetch(tmp_path / "out" / "manifest.json")
    assert [request.range for request in hub.find("/cdn/")] == [None, "bytes=5500-"]


def test_a_wrong_hash_is_fetched_again(hub, tmp_path):
    hub.fail("/cdn/", method="GET", corrupt=True)
    manifest = fetch(tmp_path / "out" / "manifest.json")
    assert [request.range for request in hub.find("/cdn/")] == [None, None]
    content = (manifest.parent / WEIGHTS).read_bytes()
    assert content == hub.repos[REPO]["step10-tokens1B"][WEIGHTS]


@pytest.mark.parametrize(("where", "name"), [("/cdn/", WEIGHTS), ("/tokenizer.json", "tokenizer")])
def test_a_lasting_wrong_hash_is_refused(hub, tmp_path, where, name):
    hub.fail(where, method="GET", corrupt=True, times=None)
    refuse(tmp_path, rf"{name}.* arrived twice with another content than the hub states")
    assert len(hub.find(where, method="GET")) == 2
    blobs = blob_of(hub, "step10-tokens1B").parent
    assert not list(blobs.glob("*.partial"))


def test_a_damaged_cache_is_repaired(hub, tmp_path):
    fetch(tmp_path / "one" / "manifest.json")
    blob = blob_of(hub, "step10-tokens1B")
    content = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(content[:-1] + b"x")
    fetch(tmp_path / "two" / "manifest.json")
    assert blob.read_bytes() == content


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("where", ["/refs", "/revision/", "/tree/", "/cdn/", "/resolve/"])
def test_what_passes_is_repeated(hub, status, where):
    hub.fail(where, status=status, times=2, headers={"Retry-After": "0"})
    snapshot = fetch_snapshot(REPO, "step{step}-*", 10, choose=choose_weights)
    files = read_files(snapshot.directory)
    assert files[WEIGHTS] == hub.repos[REPO]["step10-tokens1B"][WEIGHTS]
    assert len(hub.find(where)) > 2


@pytest.mark.parametrize(
    ("where", "status", "message"),
    [
        ("/refs", 401, "tiny-hf: 127.0.0.1 answers 401: no such repo, or a private one: log in"),
        ("/refs", 403, "answers 403: your token may not read it: ask for access"),
        ("/cdn/", 403, "localhost answers 403: your token may not read it"),
        ("/refs", 404, "answers 404: no such repo, revision or file"),
        ("/tree/", 429, "answers 429: too many requests"),
        ("/cdn/", 429, "localhost answers 429: too many requests"),
        ("/refs", 503, "answers 503: try again later"),
        ("/cdn/", 500, "localhost answers 500: try again later; what has arrived is kept"),
    ],
)
def test_what_lasts_is_refused_in_one_line(hub, tmp_path, where, status, message):
    hub.fail(where, status=status, times=None)
    refuse(tmp_path, message)
    if status in {401, 403, 404}:
        assert len(hub.find(where)) == 1


def test_an_unknown_repo_is_refused(hub, tmp_path):
    refuse(tmp_path, "allenai/nothing: 127.0.0.1 answers 404: no such repo", repo="allenai/nothing")


def test_a_name_that_no_repo_can_have_is_refused(hub, tmp_path):
    refuse(tmp_path, "a/b--c: .*Cannot have -- or", repo="a/b--c")


def test_a_lost_connection_is_refused(hub, tmp_path):
    hub.fail("/cdn/", method="GET", cut_after_bytes=0, times=None)
    refuse(tmp_path, "no lasting connection to http://127.0.0.1.*what has arrived is kept")


def test_no_server_is_refused(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    refuse(
        tmp_path, "no lasting connection to http://127.0.0.1:9 .*HF_HUB_OFFLINE=1 uses the cache"
    )


def test_a_page_that_is_no_hub_is_refused(hub, tmp_path):
    hub.files[f"/api/models/{REPO}/refs"] = b"<html>Log in to this network</html>"
    refuse(tmp_path, "does not answer like a hub")


def test_waits_grow_and_heed_the_hub(hub, monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr(calls, "WAITS_SECONDS", (2, 10, 30))
    hub.fail("/refs", status=503)
    hub.fail("/refs", status=429, headers={"Retry-After": "77"})
    hub.fail("/refs", status=429, headers={"Retry-After": "999999"})
    fetch_snapshot(REPO, "step{step}-*", 10, choose=choose_weights)
    assert waits == [2, 77, MAX_WAIT_SECONDS]


def test_the_token_goes_to_the_hub_alone(hub, tmp_path, monkeypatch):
    hub.token = "secret"
    refuse(tmp_path, "answers 401: no such repo, or a private one: log in with `hf auth login`")
    monkeypatch.setenv("HF_TOKEN", "secret")
    fetch(tmp_path / "out" / "manifest.json")
    assert all("authorization" not in request.headers for request in hub.find("/cdn/"))


def test_pickles_alone_are_refused(hub, tmp_path):
    del hub.repos[REPO]["step10-tokens1B"][WEIGHTS]
    refuse(tmp_path, r"tiny-hf@step10-tokens1B: pytorch_model\.bin is a pickle.*refused")
    del hub.repos[REPO]["step10-tokens1B"]["pytorch_model.bin"]
    refuse(tmp_path, r"neither model\.safetensors nor model\.safetensors\.index\.json")
    assert not hub.find("/resolve/")


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
    fetch(tmp_path / "one" / "manifest.json")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    fetch(tmp_path / "two" / "manifest.json")


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
    online = fetch(tmp_path / "one" / "manifest.json").read_bytes()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert fetch(tmp_path / "two" / "manifest.json").read_bytes() == online
    commit = hub.commit(REPO, "step10-tokens1B")
    fetch(tmp_path / "three" / "manifest.json", revision=commit)
    refuse(
        tmp_path,
        "in the cache .*HF_HUB_OFFLINE is set: .*no branch or tag matches 'step20-.*step10-tokens",
        step=20,
    )
    refuse(tmp_path, "was never downloaded", revision="0" * 40)
    refuse(tmp_path, "nearest: none that has a number", repo="allenai/nothing")
    assert not hub.requests


def test_offline_after_a_failed_download_says_so(hub, tmp_path, monkeypatch):
    fetch(tmp_path / "one" / "manifest.json")
    hub.fail("/cdn/", status=403)
    refuse(tmp_path, "answers 403", step=20)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refuse(tmp_path, "step20-tokens2B was never downloaded", step=20)
    fetch(tmp_path / "two" / "manifest.json")


def test_a_moved_branch_is_a_new_commit(hub, tmp_path):
    first = json.loads(fetch(tmp_path / "one" / "manifest.json").read_text())
    hub.repos[REPO]["step10-tokens1B"] = hub.repos[REPO]["step20-tokens2B"]
    second = json.loads(fetch(tmp_path / "two" / "manifest.json").read_text())
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
