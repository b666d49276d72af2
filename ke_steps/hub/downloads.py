"""Files behind http(s), brought whole and checked into a cache that all studies share.

The hub's client throws half a file away when it is killed; so contents are fetched here, by the
client's ``http_get`` into ``….partial`` beside their place, and what is whole is moved there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from huggingface_hub.file_download import http_get
from huggingface_hub.utils.sha import git_hash

from ke_steps.hub.calls import Server, call_server
from ke_steps.job.errors import UserError


def hash_as_git(path: Path) -> str:
    """Return the id that git gives to a file's content."""
    return git_hash(path.read_bytes())


@dataclass(frozen=True)
class Blob:
    """A file of a repository's commit, and where the cache keeps its content.

    Attributes:
        repo: whose file it is, for errors.
        commit: 40 hex digits.
        name: its path in the repository.
        url: where it is fetched from.
        headers: of the request.
        size_bytes: of the whole content.
        content_hash: what ``hash_of`` must return for it.
        hash_of: the hash of a file.
        path: where the content is, once it is whole.
        lock: held by whoever fetches it.
    """

    repo: str
    commit: str
    name: str
    url: str
    headers: Mapping[str, str]
    size_bytes: int
    content_hash: str
    hash_of: Callable[[Path], str]
    path: Path
    lock: Path

    @property
    def partial(self) -> Path:
        """Where the content gathers until it is whole."""
        return self.path.with_name(f"{self.path.name}.partial")

    @property
    def missing_bytes(self) -> int:
        """How much is still to be fetched."""
        if self.path.is_file():
            return 0
        return self.size_bytes - (self.partial.stat().st_size if self.partial.is_file() else 0)

    def is_content(self, path: Path) -> bool:
        """Return whether a file is there with the right size and hash."""
        if not path.is_file() or path.stat().st_size != self.size_bytes:
            return False
        return self.hash_of(path) == self.content_hash


def check_disk(cache: Path, needed_bytes: int, *, what: str) -> None:
    """Refuse a download that the cache's disk has no room for."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{cache}: {error.strerror}; set HF_HOME to a folder for it") from error
    if needed_bytes and not os.access(cache, os.W_OK):
        raise UserError(f"{cache}: cannot be written; set HF_HOME to a folder that can")
    free_bytes = shutil.disk_usage(cache).free
    if needed_bytes > free_bytes:
        raise UserError(
            f"{what}: needs {needed_bytes / 1e9:.2f} GB, but {cache} has {free_bytes / 1e9:.2f} GB"
            " free: make room, or set HF_HOME to a larger disk"
        )


def ensure_blob(server: Server, blob: Blob) -> None:
    """Bring a file's content into the cache unless it is there, whole and with the right hash.

    Content with a wrong hash is thrown away and fetched once more.
    """
    if blob.is_content(blob.path):
        return  # before anything is written: a cache that is complete may be read-only
    blob.path.parent.mkdir(parents=True, exist_ok=True)
    blob.lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(blob.lock):
        if blob.is_content(blob.path):
            return
        blob.path.unlink(missing_ok=True)
        for _ in range(2):
            call_server(server, blob.repo, lambda: _append_missing(blob))
            if blob.is_content(blob.partial):
                blob.partial.replace(blob.path)
                return
            blob.partial.unlink()
    raise UserError(
        f"{blob.repo}: {blob.name} of commit {blob.commit[:8]} arrived twice with another content"
        f" than its hash {blob.content_hash[:8]}… says: try again later, or over another connection"
    )


def _append_missing(blob: Blob) -> None:
    if blob.missing_bytes < 0:
        blob.partial.unlink()
    with blob.partial.open("ab") as file:
        http_get(
            blob.url,
            file,
            resume_size=file.tell(),
            # a compressed body cannot be resumed
            headers={**blob.headers, "Accept-Encoding": "identity"},
            expected_size=blob.size_bytes,
            displayed_filename=blob.name,
        )
