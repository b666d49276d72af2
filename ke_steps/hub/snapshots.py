"""Checkpoints on the Hugging Face hub: downloaded whole and checked, into the client's own cache.

The cache (``HF_HOME``) is shared by all studies and laid out by ``huggingface_hub``: contents under
``blobs/``, named by the hub's hash, and links to them under ``snapshots/<commit>/``. The client
itself throws half a file away when it is killed; so the contents are fetched here, by the client's
``http_get`` into ``blobs/<hash>.partial``, and what is there already is not fetched again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from filelock import FileLock
from huggingface_hub import HfApi, constants, hf_hub_url, is_offline_mode
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.hf_api import GitRefs, RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # is documented
from huggingface_hub.utils.sha import git_hash

from ke_steps.hub.calls import call_hub
from ke_steps.hub.refs import PREFIXES, Ref, choose_ref
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file, replacing

NUM_DOWNLOADS = 4
"""Files that are fetched side by side."""

DESCRIPTIONS = (
    "config.json",
    "config.yaml",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


class Choose(Protocol):
    """Tells which of a commit's files hold the weights."""

    def __call__(self, names: Iterable[str], /, *, where: str) -> list[str]:
        """Return the files to fetch; ``where`` is what the commit is called in an error."""


@dataclass(frozen=True)
class Snapshot:
    """A commit's files in the cache, and the branch or tag it was found by."""

    directory: Path
    ref: Ref


@dataclass(frozen=True)
class Blob:
    """A file of a commit and where the cache keeps its content."""

    name: str
    size_bytes: int
    content_hash: str
    is_lfs: bool
    path: Path

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
        """Return whether a file is there with the size and the hash that the hub states."""
        if not path.is_file() or path.stat().st_size != self.size_bytes:
            return False
        if self.is_lfs:
            return hash_file(path) == self.content_hash
        return git_hash(path.read_bytes()) == self.content_hash


def fetch_snapshot(repo: str, revision: str, step: int, *, choose: Choose) -> Snapshot:
    """Return a checkpoint's files in the cache, after fetching those that are not there.

    Args:
        repo: ``owner/name`` of a model.
        revision: pattern of a branch or tag (see ``refs.choose_ref``).
        step: what ``{step}`` in the pattern stands for.
        choose: which files hold the weights; not asked when offline.

    Raises:
        UserError: no such ref, no files to choose, no access, no connection, too little disk, or
            contents that differ from what the hub states.
    """
    if is_offline_mode():
        return find_snapshot(repo, revision, step)
    api = HfApi()
    refs = call_hub(repo, lambda: api.list_repo_refs(repo))
    ref = choose_ref(list_refs(refs, revision), revision, step, where=repo)
    commit = _resolve(api, repo, ref)
    tree = call_hub(repo, lambda: list(api.list_repo_tree(repo, revision=commit)))
    files = [entry for entry in tree if isinstance(entry, RepoFile)]
    weights = choose((file.path for file in files), where=f"{repo}@{ref.name}")
    blobs = choose_blobs(files, repo, {*weights, *DESCRIPTIONS})
    check_disk(sum(blob.missing_bytes for blob in blobs), what=f"{repo}@{ref.name}")
    with ThreadPoolExecutor(NUM_DOWNLOADS) as pool:
        list(pool.map(partial(ensure_blob, repo, commit), blobs))
    names = [blob.name for blob in blobs]
    directory = call_hub(
        repo, lambda: api.snapshot_download(repo, revision=commit, allow_patterns=names)
    )
    return Snapshot(Path(directory), Ref(ref.name, commit))


def list_refs(refs: GitRefs, revision: str) -> list[Ref]:
    """Return a repository's branches and tags, by names that begin as a pattern's do."""
    listed = [*refs.branches, *refs.tags]
    plain = [Ref(ref.name, ref.target_commit) for ref in listed]
    if not revision.startswith(PREFIXES):
        return plain
    prefixed = [Ref(ref.ref.removeprefix("refs/"), ref.target_commit) for ref in listed]
    return prefixed + [ref for ref in plain if ref.name.startswith(PREFIXES)]


def _resolve(api: HfApi, repo: str, ref: Ref) -> str:
    """Return a ref's commit, and note it in the cache, by which it is found when offline."""
    if not ref.name.startswith(PREFIXES):
        return call_hub(repo, lambda: api.resolve_revision(repo, revision=ref.name)).resolved
    note = _repo_folder(repo) / "refs" / ref.name
    if not note.is_file() or note.read_text() != ref.commit:
        with replacing(note) as beside:
            beside.write_text(ref.commit)
    return ref.commit


def find_snapshot(repo: str, revision: str, step: int) -> Snapshot:
    """Return a checkpoint's files in the cache, without any connection."""
    folder = _repo_folder(repo)
    where = f"{repo} in the cache {constants.HF_HUB_CACHE}, since HF_HUB_OFFLINE is set"
    refs = [
        Ref(path.relative_to(folder / "refs").as_posix(), path.read_text().strip())
        for path in sorted((folder / "refs").rglob("*"))
        if path.is_file()
    ]
    ref = choose_ref(refs, revision, step, where=where)
    directory = folder / "snapshots" / ref.commit
    if not directory.is_dir():
        raise UserError(f"{where}: {ref.name} was never downloaded")
    return Snapshot(directory, ref)


def choose_blobs(files: Sequence[RepoFile], repo: str, names: Collection[str]) -> list[Blob]:
    """Return the files of these names, of those that there are."""
    blobs = _repo_folder(repo) / "blobs"
    return [
        Blob(
            name=file.path,
            size_bytes=file.size,
            content_hash=file.lfs.sha256 if file.lfs else file.blob_id,
            is_lfs=file.lfs is not None,
            path=blobs / (file.lfs.sha256 if file.lfs else file.blob_id),
        )
        for file in files
        if file.path in names
    ]


def _repo_folder(repo: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")


def check_disk(needed_bytes: int, *, what: str) -> None:
    """Refuse a download that the cache's disk has no room for."""
    cache = Path(constants.HF_HUB_CACHE)
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


def ensure_blob(repo: str, commit: str, blob: Blob) -> None:
    """Bring a file's content into the cache unless it is there, whole and with the right hash.

    Content with a wrong hash is thrown away and fetched once more.
    """
    if blob.is_content(blob.path):
        return  # before anything is written: a cache that is complete may be read-only
    blob.path.parent.mkdir(parents=True, exist_ok=True)
    # the client's own lock for this content, so that both never write it at once
    locks = Path(constants.HF_HUB_CACHE) / ".locks" / _repo_folder(repo).name
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{blob.path.name}.lock"):
        if blob.is_content(blob.path):
            return
        blob.path.unlink(missing_ok=True)
        for _ in range(2):
            call_hub(repo, lambda: _append_missing(repo, commit, blob))
            if blob.is_content(blob.partial):
                blob.partial.replace(blob.path)
                return
            blob.partial.unlink()
    raise UserError(
        f"{repo}: {blob.name} of commit {commit[:8]} arrived twice with another content than the"
        f" hub states (hash {blob.content_hash[:8]}…): try again later, or over another connection"
    )


def _append_missing(repo: str, commit: str, blob: Blob) -> None:
    if blob.missing_bytes < 0:
        blob.partial.unlink()
    with blob.partial.open("ab") as file:
        http_get(
            hf_hub_url(repo, blob.name, revision=commit),
            file,
            resume_size=file.tell(),
            # a compressed body cannot be resumed
            headers=build_hf_headers() | {"Accept-Encoding": "identity"},
            expected_size=blob.size_bytes,
            displayed_filename=blob.name,
        )
