"""Calls to the hub: what passes is repeated, what lasts is refused in one line."""

import huggingface_hub
import pytest

from ke_steps.checkpoints.weight_files import choose_weights
from ke_steps.hub import calls
from ke_steps.hub.calls import MAX_WAIT_SECONDS
from ke_steps.hub.snapshots import fetch_snapshot
from tests.invented.hub_checkpoints import REPO, WEIGHTS, fetch_from_hub, refuse
from tests.invented.hub_server import read_files


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
    fetch_from_hub(tmp_path / "out" / "manifest.json")
    assert all("authorization" not in request.headers for request in hub.find("/cdn/"))
