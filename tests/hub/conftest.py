"""A hub on loopback with three branches of one tiny model."""

import huggingface_hub
import pytest

from ke_steps.hub import calls
from tests.invented.hub_checkpoints import REPO, build_files
from tests.invented.hub_server import HubServer


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
