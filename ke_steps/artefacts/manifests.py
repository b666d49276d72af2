"""Manifests: what the files beside them are, so that a damaged one is found before it is used.

A manifest is written last. ``files`` in it states the size and the sha256 of each file.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file, read_object

NAME = "manifest.json"


def describe_files(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return {name: {size_bytes, sha256}} for a manifest."""
    return {
        path.name: {"size_bytes": path.stat().st_size, "sha256": hash_file(path)} for path in paths
    }


def read_manifest(path: Path, kind: str) -> dict[str, Any]:
    """Read a manifest; check that its files are there, and but for weights their contents.

    Args:
        path: of the manifest.
        kind: what it must be of: ``checkpoint`` or ``tokenizer``.

    Raises:
        UserError: not a manifest, or a file beside it is missing or has changed.
    """
    manifest = read_object(path, "manifest")
    if manifest.get("kind") != kind:
        raise UserError(f"{path}: not the manifest of a {kind}")
    for name, size_bytes, _ in _files(manifest, path):
        beside = path.parent / name
        if not beside.is_file():
            raise UserError(f"{path}: lists {name}, which is missing: {_remedy(path)}")
        if beside.stat().st_size != size_bytes:
            raise UserError(f"{beside}: not of the size in {path.name}: {_remedy(path)}")
    _verify(path, manifest, are_weights=False)
    return manifest


def verify_descriptions(directory: Path) -> dict[str, Any]:
    """Refuse config and tokenizer files that are not what the manifest beside them says.

    Returns:
        The manifest; empty for a directory from outside, which has none or one of another kind.

    Raises:
        UserError: as ``read_manifest``.
    """
    path = directory / NAME
    if path.is_file():
        manifest = read_object(path, "manifest")
        if manifest.get("kind") in {"checkpoint", "tokenizer"}:
            _verify(path, manifest, are_weights=False)
            return manifest
    return {}


def verify_weights(path: Path) -> None:
    """Read every byte of a checkpoint's weights; refuse those that are not what was written.

    Takes about a second per gigabyte, once in a process.

    Raises:
        UserError: as ``read_manifest``, or weights have another content than the manifest says.
    """
    _verify(path, read_manifest(path, "checkpoint"), are_weights=True)


def _verify(path: Path, manifest: dict[str, Any], *, are_weights: bool) -> None:
    for name, _, sha256 in _files(manifest, path):
        beside = path.parent / name
        if (beside.suffix == ".safetensors") == are_weights:
            status = beside.stat()
            if _hash_once(beside, status.st_size, status.st_mtime_ns) != sha256:
                raise UserError(
                    f"{beside}: not what was written (its sha256 is not the one in {path.name}):"
                    f" {_remedy(path)}"
                )


def _files(manifest: dict[str, Any], path: Path) -> list[tuple[str, int, str]]:
    try:
        return [(name, f["size_bytes"], f["sha256"]) for name, f in manifest["files"].items()]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a whole manifest: {_remedy(path)}") from error


def _remedy(path: Path) -> str:
    return f"delete {path} and run again"


@cache
def _hash_once(path: Path, size_bytes: int, modified_ns: int) -> str:
    """Hash a file that has not changed since; a job may load the same weights twice."""
    return hash_file(path)
