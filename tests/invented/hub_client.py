"""Point the hub's real client, within this process, at a server of ``hub_server``."""

import huggingface_hub

from ke_steps.hub import calls


def point_client_at(server, cache, monkeypatch):
    """Let the client talk to ``server`` without a token or a wait, its caches elsewhere."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    constants = huggingface_hub.constants
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(cache.with_name("assets")))
    # the client resumes at a multiple of it
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr(calls, "WAITS_SECONDS", (0, 0, 0))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
