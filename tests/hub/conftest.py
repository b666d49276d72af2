"""A hub on loopback with three branches of one tiny model."""

import pytest

from tests.invented.hub_checkpoints import REPO, build_files
from tests.invented.hub_client import point_client_at
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
    with HubServer({REPO: {ref: dict(files) for ref, files in branches.items()}}) as server:
        point_client_at(server, tmp_path / "cache", monkeypatch)
        yield server
