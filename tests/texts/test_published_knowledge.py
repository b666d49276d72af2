"""The files of a public repository: fetched, or those of a folder, and none but these."""

import hashlib
import shutil

import pytest

from ke_steps.job.errors import UserError
from ke_steps.settings.texts import PublishedKnowledge
from ke_steps.study.presets import FICTIONAL_KNOWLEDGE
from ke_steps.texts.published_knowledge import find_file
from tests.invented.hub_client import point_client_at
from tests.invented.hub_server import HubServer

FILES = {"paraphrase": b"[1]", "once": b"[2, 3]"}


def source_of(folder=None):
    files = {
        key: {
            "name": f"{key}.json",
            "sha256": hashlib.sha256(content).hexdigest(),
            "num_bytes": len(content),
        }
        for key, content in FILES.items()
    }
    return PublishedKnowledge(
        kind="published",
        repo="owner/papers",
        commit="a" * 40,
        repo_folder="texts",
        folder=folder and str(folder),
        **files,
    )


@pytest.fixture
def server(tmp_path, monkeypatch):
    places = {key: f"/owner/papers/{'a' * 40}/texts/{key}.json" for key in FILES}
    with HubServer(files={places[key]: content for key, content in FILES.items()}) as server:
        point_client_at(server, tmp_path / "cache", monkeypatch)
        monkeypatch.setenv("GITHUB_RAW_ENDPOINT", server.url)
        yield server


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "copy").mkdir()
    for key, content in FILES.items():
        (tmp_path / "copy" / f"{key}.json").write_bytes(content)
    return tmp_path / "copy"


def test_both_files_are_fetched(server):
    source = source_of()
    found = {key: find_file(source, getattr(source, key)).read_bytes() for key in FILES}
    assert found == FILES


def test_what_cannot_be_fetched_may_come_from_a_folder(server):
    server.fail("once.json", status=404, times=None)
    source = source_of()
    with pytest.raises(UserError, match=r"answers 404: .*; knowledge\.source\.folder may name"):
        find_file(source, source.once)


def test_a_folder_needs_no_server(server, folder):
    source = source_of(folder)
    assert find_file(source, source.once) == folder / "once.json"
    assert not server.requests


def test_a_folder_with_another_file_is_refused(folder):
    shutil.copy(folder / "paraphrase.json", folder / "once.json")
    source = source_of(folder)
    with pytest.raises(UserError, match=r"folder: .*once\.json is not the file of owner/papers"):
        find_file(source, source.once)
    (folder / "once.json").unlink()
    with pytest.raises(UserError, match=r"source\.folder: no such file: .*once\.json"):
        find_file(source, source.once)


def test_the_preset_is_the_papers_files(shared_data):
    source = FICTIONAL_KNOWLEDGE.model_copy(
        update={"folder": str(shared_data / "fictional_knowledge")}
    )
    for file in (source.paraphrase, source.once):
        assert find_file(source, file).stat().st_size == file.num_bytes
