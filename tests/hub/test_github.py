"""Files of GitHub in the cache that all studies share, from a server on loopback with faults."""

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest

from ke_steps.hub.github import fetch_file
from ke_steps.job.errors import UserError
from tests.invented.hub_client import point_client_at
from tests.invented.hub_server import HubServer

REPO, COMMIT, NAME = "owner/papers", "a" * 40, "folder/passages.json"
CONTENT = bytes(range(250)) * 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    with HubServer(files={f"/{REPO}/{COMMIT}/{NAME}": CONTENT}) as server:
        point_client_at(server, tmp_path / "cache", monkeypatch)
        monkeypatch.setenv("GITHUB_RAW_ENDPOINT", f"{server.url}/")
        yield server


@pytest.fixture
def place(tmp_path):
    """Return where the file is to be."""
    return tmp_path / "assets/knowledge-entropy/owner--papers" / COMMIT / NAME


def fetch(name=NAME, content=CONTENT):
    sha256 = hashlib.sha256(content).hexdigest()
    return fetch_file(REPO, COMMIT, name, sha256=sha256, size_bytes=len(content))


def refuse(match, **keywords):
    with pytest.raises(UserError, match=match) as refusal:
        fetch(**keywords)
    assert "\n" not in str(refusal.value)


def test_a_file_is_fetched_once_and_without_the_hubs_token(server, place, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch() == place
    assert place.read_bytes() == CONTENT
    (request,) = server.requests
    assert request.path == f"/{REPO}/{COMMIT}/{NAME}"
    assert "hf_secret" not in str(request.headers)
    assert fetch() == place
    assert len(server.requests) == 1


def test_a_dropped_connection_resumes(server, place):
    server.fail(NAME, cut_after_bytes=2500)
    fetch()
    assert [request.range for request in server.requests] == [None, "bytes=2000-"]
    assert place.read_bytes() == CONTENT


def test_a_file_that_was_cut_off_is_never_in_place_and_resumes_in_the_next_run(server, place):
    server.fail(NAME, cut_after_bytes=2500)
    server.fail(NAME, status=403)
    refuse(r"owner/papers: 127.0.0.1 answers 403: try again later; what has arrived is kept")
    assert not place.exists()
    assert place.with_name("passages.json.partial").read_bytes() == CONTENT[:2000]
    server.requests.clear()
    fetch()
    assert [request.range for request in server.requests] == ["bytes=2000-"]
    assert place.read_bytes() == CONTENT
    assert not place.with_name("passages.json.partial").exists()


def test_another_content_is_fetched_once_more_then_refused(server, place):
    server.fail(NAME, corrupt=True)
    assert fetch().read_bytes() == CONTENT
    place.unlink()
    server.requests.clear()
    server.fail(NAME, corrupt=True, times=None)
    refuse(rf"papers: {NAME} of commit aaaaaaaa arrived twice with another .*{SHA256[:8]}")
    assert len(server.requests) == 2
    assert not list(place.parent.glob("*.json*l"))


def test_a_damaged_file_of_the_cache_is_replaced(server, place):
    fetch()
    place.write_bytes(CONTENT[:-1] + b"x")
    assert fetch().read_bytes() == CONTENT


def test_what_passes_is_repeated(server):
    server.fail(NAME, status=503, times=3)
    assert fetch().read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "says"), [(404, "does the mirror have it"), (429, "wait some")])
def test_what_lasts_is_refused_in_one_line(server, place, status, says):
    server.fail(NAME, status=status, times=None)
    refuse(f"owner/papers: 127.0.0.1 answers {status}: .*{says}")
    assert not place.exists()


def test_no_server_is_named(server, monkeypatch):
    monkeypatch.setenv("GITHUB_RAW_ENDPOINT", "http://127.0.0.1:9")
    refuse("owner/papers: no lasting connection to http://127.0.0.1:9 ")


def test_offline_the_cache_alone_is_used(server, place, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refuse(f"owner/papers: no {place}, and HF_HUB_OFFLINE forbids a download")
    assert not server.requests
    assert not place.parent.exists()
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert fetch() == place


def test_too_little_disk_is_refused_before_the_download(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    refuse(rf"owner/papers: {NAME}: needs 0\.\d\d GB, but .*assets has 0\.00 GB free")
    assert not server.requests


def test_a_cache_that_cannot_be_made_is_refused(server, tmp_path):
    (tmp_path / "assets").touch()
    refuse("assets: File exists; set HF_HOME")


def test_two_at_once_download_once(server, place):
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(fetch) for _ in range(2)]
    assert [future.result() for future in futures] == [place, place]
    assert len(server.requests) == 1


FETCH = f"""
from ke_steps.hub.github import fetch_file
print(fetch_file("{REPO}", "{COMMIT}", "{NAME}", sha256="{SHA256}", size_bytes={len(CONTENT)}))
"""


def test_the_environment_names_mirror_and_cache(server, tmp_path):
    variables = {"GITHUB_RAW_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
    run = partial(subprocess.check_output, [sys.executable, "-c", FETCH], text=True)
    path = Path(run(env=os.environ | variables).strip())
    assert path.is_relative_to(tmp_path / "home/assets")
    assert path.read_bytes() == CONTENT
    server.requests.clear()
    assert run(env=os.environ | variables | {"HF_HUB_OFFLINE": "1"}).strip() == str(path)
    assert not server.requests
