"""Passages that a public repository has: fetched into the cache, or taken from a folder."""

from __future__ import annotations

from pathlib import Path

from ke_steps.hub.github import fetch_file
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file
from ke_steps.settings.texts import PublishedFile, PublishedKnowledge


def find_file(source: PublishedKnowledge, file: PublishedFile) -> Path:
    """Return one of the source's files, whose content is the one that is known of it.

    Raises:
        UserError: it cannot be fetched, or the folder has none or another.
    """
    if source.folder is not None:
        return _check(Path(source.folder, file.name), source, file)
    name = f"{source.repo_folder}/{file.name}"
    try:
        return fetch_file(
            source.repo, source.commit, name, sha256=file.sha256, size_bytes=file.num_bytes
        )
    except UserError as error:
        raise UserError(
            f"{error}; knowledge.source.folder may name a folder that has it"
        ) from error


def _check(path: Path, source: PublishedKnowledge, file: PublishedFile) -> Path:
    if not path.is_file():
        raise UserError(f"knowledge.source.folder: no such file: {path}")
    if (found := hash_file(path)) != file.sha256:
        raise UserError(
            f"knowledge.source.folder: {path} is not the file of {source.repo}: its sha256 is"
            f" {found[:8]}…, not {file.sha256[:8]}…; get it again at commit {source.commit[:8]}"
        )
    return path
