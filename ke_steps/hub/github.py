"""Single files of public GitHub repositories, at a commit and with a known sha256.

They are kept in the assets cache of the hub's client, which all studies share:
``assets/knowledge-entropy/<owner>--<name>/<commit>/<path>`` below ``HF_HOME``. What is there
already is not fetched again.
"""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import constants, is_offline_mode

from ke_steps.hub.calls import Server
from ke_steps.hub.downloads import Blob, check_disk, ensure_blob
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file

LIBRARY = "knowledge-entropy"
RAW = "https://raw.githubusercontent.com"
MIRROR = "GITHUB_RAW_ENDPOINT"
"""The environment variable that names another server with the same paths."""

_REMEDIES = {
    404: "no such repository, commit or file there; does the mirror have it?",
    429: "too many requests: wait some minutes",
}


def fetch_file(repo: str, commit: str, name: str, *, sha256: str, size_bytes: int) -> Path:
    """Return a file of a repository in the cache, after fetching it unless it is there.

    Args:
        repo: ``owner/name``.
        commit: 40 hex digits.
        name: the file's path in the repository.
        sha256: of its content, 64 hex digits.
        size_bytes: of its content.

    Raises:
        UserError: no such file, no connection, too little disk, or another content.
    """
    server = Server(os.environ.get(MIRROR, RAW).rstrip("/"), _REMEDIES)
    cache = Path(constants.HF_ASSETS_CACHE)
    path = cache / LIBRARY / repo.replace("/", "--") / commit / name
    blob = Blob(
        repo=repo,
        commit=commit,
        name=name,
        url=f"{server.url}/{repo}/{commit}/{name}",
        headers={},  # and no token of the hub's
        size_bytes=size_bytes,
        content_hash=sha256,
        hash_of=hash_file,
        path=path,
        lock=path.with_name(f"{path.name}.lock"),
    )
    if blob.is_content(path):
        return path
    if is_offline_mode():
        raise UserError(f"{repo}: no {path}, and HF_HUB_OFFLINE forbids a download")
    check_disk(cache, blob.missing_bytes, what=f"{repo}: {name}")
    ensure_blob(server, blob)
    return path
