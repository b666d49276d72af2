"""Checkpoints on the Hugging Face hub: downloaded whole and checked, into the client's own cache.

The cache (``HF_HOME``) is shared by all studies and laid out by ``huggingface_hub``: contents under
``blobs/``, named by the hub's hash, and links to them under ``snapshots/<commit>/``. Contents are
fetched by ``hub.downloads``, and what is there already is not fetched again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from huggingface_hub import HfApi, constants, hf_hub_url, is_offline_mode
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.hf_api import GitRefs, RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # is documented

from ke_steps.hub.calls import call_hub, hub_server
from ke_steps.hub.downloads import Blob, check_disk, ensure_blob, hash_as_git
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
    blobs = choose_blobs(files, repo, commit, {*weights, *DESCRIPTIONS})
    needed_bytes = sum(blob.missing_bytes for blob in blobs)
    check_disk(Path(constants.HF_HUB_CACHE), needed_bytes, what=f"{repo}@{ref.name}")
    with ThreadPoolExecutor(NUM_DOWNLOADS) as pool:
        list(pool.map(partial(ensure_blob, hub_server()), blobs))
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


def choose_blobs(
    files: Sequence[RepoFile], repo: str, commit: str, names: Collection[str]
) -> list[Blob]:
    """Return the files of these names, of those that there are."""
    return [_blob(file, repo, commit) for file in files if file.path in names]


def _blob(file: RepoFile, repo: str, commit: str) -> Blob:
    content_hash = file.lfs.sha256 if file.lfs else file.blob_id
    folder = _repo_folder(repo)
    return Blob(
        repo=repo,
        commit=commit,
        name=file.path,
        url=hf_hub_url(repo, file.path, revision=commit),
        headers=build_hf_headers(),
        size_bytes=file.size,
        content_hash=content_hash,
        hash_of=hash_file if file.lfs else hash_as_git,
        path=folder / "blobs" / content_hash,
        # the client's own lock for this content, so that both never write it at once
        lock=Path(constants.HF_HUB_CACHE, ".locks", folder.name, f"{content_hash}.lock"),
    )


def _repo_folder(repo: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
