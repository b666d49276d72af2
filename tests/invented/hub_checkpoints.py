"""A tiny model on the hub of the tests, and how the tests fetch it."""

import hashlib
from pathlib import Path

import huggingface_hub
import pytest

from ke_steps.job.errors import UserError
from tests.invented.fetching import fetch
from tests.invented.hub_server import read_files
from tests.invented.models import build_model, build_tokenizer

REPO = "allenai/tiny-hf"
WEIGHTS = "model.safetensors"


def build_files(directory, *, seed=0, **overrides):
    """Return {path: content} of a tiny OLMo's repository, README and pickle included."""
    build_model("olmo", seed=seed).save_pretrained(directory, **overrides)
    build_tokenizer(directory)
    return read_files(directory) | {"README.md": b"# tiny", "pytorch_model.bin": b"a pickle"}


def fetch_from_hub(manifest, *, step=10, revision="step{step}-*", repo=REPO):
    source = {"kind": "hub", "repo": repo, "revision": revision}
    return fetch(source, manifest, step=step)


def refuse(tmp_path, match, **keywords):
    """Check that fetching ends in one line that matches, and leaves no manifest."""
    manifest = tmp_path / "out" / "manifest.json"
    with pytest.raises(UserError, match=match) as refusal:
        fetch_from_hub(manifest, **keywords)
    assert "\n" not in str(refusal.value)
    assert not manifest.exists()


def blob_of(hub, ref, name=WEIGHTS):
    """Return where the cache keeps the content of a weight file."""
    digest = hashlib.sha256(hub.repos[REPO][ref][name]).hexdigest()
    cache = huggingface_hub.constants.HF_HUB_CACHE
    return Path(cache) / "models--allenai--tiny-hf" / "blobs" / digest
