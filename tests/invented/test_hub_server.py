"""The stand-in for the hub does to the real clients what the hub would do."""

import hashlib

import httpx
import pytest
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from tests.invented.hub_protocol import git_blob_id
from tests.invented.hub_server import HubServer

LINES = b'{"text": "a"}\n' * 50
TABLE = bytes(range(256)) * 40


@pytest.fixture
def hub():
    repos = {
        "datasets/owner/data": {
            "main": {
                "data/train/lines.jsonl": LINES,
                "data/table.parquet": TABLE,
                "README.md": b"x",
            },
            "refs/tags/v1": {"README.md": b"y"},
        }
    }
    with HubServer(repos) as server:
        yield server


def test_refs_info_and_tree(hub):
    api = HfApi(endpoint=hub.url)
    keywords = {"repo_id": "owner/data", "repo_type": "dataset"}
    refs = api.list_repo_refs(**keywords)
    commit = hub.commit("datasets/owner/data", "main")
    assert [(ref.name, ref.target_commit) for ref in refs.branches] == [("main", commit)]
    assert [ref.name for ref in refs.tags] == ["v1"]
    info = api.repo_info(**keywords, files_metadata=True)
    files = {file.rfilename: file for file in info.siblings}
    assert info.sha == commit
    assert files["data/table.parquet"].lfs.sha256 == hashlib.sha256(TABLE).hexdigest()
    assert files["README.md"].blob_id == git_blob_id(b"x")
    assert files["README.md"].lfs is None
    flat = [entry.path for entry in api.list_repo_tree(**keywords)]
    assert sorted(flat) == ["README.md", "data"]
    deep = [entry.path for entry in api.list_repo_tree(**keywords, recursive=True, revision=commit)]
    assert sorted(deep) == [
        "README.md", "data", "data/table.parquet", "data/train", "data/train/lines.jsonl"
    ]  # fmt: skip


def test_the_file_system(hub):
    files = HfFileSystem(endpoint=hub.url, use_listings_cache=False)
    root = "datasets/owner/data"
    assert files.glob(f"{root}/data/**/*.jsonl") == [f"{root}/data/train/lines.jsonl"]
    assert files.info(f"{root}/data/table.parquet")["size"] == len(TABLE)
    with files.open(f"{root}/data/table.parquet") as file:
        file.seek(300)
        assert file.read(10) == TABLE[300:310]
    assert all(request.range for request in hub.find("/cdn/"))


def test_what_is_not_there(hub):
    api = HfApi(endpoint=hub.url)
    with pytest.raises(RepositoryNotFoundError):
        api.list_repo_refs("owner/other")
    with pytest.raises(RevisionNotFoundError):
        api.repo_info("owner/data", repo_type="dataset", revision="v2")


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        (None, 200, TABLE),
        ("bytes=100-199", 206, TABLE[100:200]),
        ("bytes=10000-", 206, TABLE[10000:]),
        ("bytes=-50", 206, TABLE[-50:]),
        ("bytes=99999-", 416, b""),
    ],
)
def test_ranges_of_raw_files(hub, wanted, status, content):
    hub.files["/tokens/part 0.npy"] = TABLE
    headers = {"Range": wanted} if wanted else {}
    answer = httpx.get(f"{hub.url}/tokens/part%200.npy", headers=headers)
    assert (answer.status_code, answer.content) == (status, content)
    assert hub.sent_bytes == len(content)


def test_faults_strike_as_often_as_told(hub):
    hub.files["/a"] = b"1234"
    hub.fail("/a", status=503, times=2)
    hub.fail("/a", corrupt=True)
    hub.fail("/a", truncate_to_bytes=2)
    hub.fail("/a", cut_after_bytes=2)
    answers = [httpx.get(f"{hub.url}/a") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 503, 200, 200]
    assert [answer.content for answer in answers[2:]] == [b"123\xcb", b"12"]
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{hub.url}/a")
    assert httpx.get(f"{hub.url}/a").content == b"1234"
