"""Checkpoint directories: safetensors, config and tokenizer, and the manifest, written last.

A checkpoint is named by its ``manifest.json``: where that is, all it lists is beside it, whole.
This module imports neither torch nor transformers, but where a model is saved.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_steps import _provenance
from ke_steps._errors import UserError
from ke_steps._tables import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def save_checkpoint(
    model: PreTrainedModel,
    tokenizer_directory: Path,
    manifest: Path,
    *,
    step: int,
    source: Mapping[str, Any],
) -> None:
    """Write a model's weights as safetensors, its config, its tokenizer's files and the manifest.

    Args:
        model: on any device; the dtype of its parameters is kept.
        tokenizer_directory: holds ``tokenizer.json`` and ``tokenizer_config.json``.
        manifest: ``<directory>/manifest.json``; older weights in that directory are replaced.
        step: training steps done.
        source: how the weights came about, as JSON values.
    """
    from ke_steps._feed_forward import describe

    directory = clear_directory(manifest)
    save_weights(model, directory)
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer_directory / name, directory / name)
    write_manifest(manifest, step=step, source=source, sizes=describe(model))


def save_weights(model: PreTrainedModel, directory: Path) -> None:
    """Write a model's safetensors and config.json."""
    model.save_pretrained(directory)
    for path in directory.glob("*.safetensors"):
        # safetensors creates files that only their owner can read
        shutil.copymode(directory / "config.json", path)


def clear_directory(manifest: Path) -> Path:
    """Return the manifest's directory, made if needed and rid of an earlier checkpoint's files."""
    directory = manifest.parent
    directory.mkdir(parents=True, exist_ok=True)
    manifest.unlink(missing_ok=True)
    for pattern in ("*.json", "*.safetensors"):
        for path in directory.glob(pattern):
            path.unlink()
    return directory


def write_manifest(
    manifest: Path, *, step: int, source: Mapping[str, Any], sizes: Mapping[str, Any]
) -> None:
    """Describe the files beside ``manifest`` and write it: from now on the checkpoint exists.

    Args:
        manifest: beside the checkpoint's other files.
        step: training steps done.
        source: where the weights are from, as JSON values.
        sizes: the model's architecture and sizes, of ``_feed_forward.describe``.
    """
    files = sorted(
        path for path in manifest.parent.iterdir() if path.suffix in {".json", ".safetensors"}
    )
    weights = [path for path in files if path.suffix == ".safetensors"]
    write_json(
        manifest,
        {
            "kind": "checkpoint",
            "step": step,
            **sizes,
            "source": dict(source),
            "tensors": describe_tensors(weights),
            "files": {
                path.name: {
                    "size_bytes": path.stat().st_size,
                    "sha256": _provenance.hash_file(path),
                }
                for path in files
            },
            "provenance": _provenance.current(),
        },
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a checkpoint's manifest and check that its files are there at their recorded sizes."""
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable manifest ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != "checkpoint":
        raise UserError(f"{path}: not the manifest of a checkpoint")
    for name, file in manifest["files"].items():
        beside = path.parent / name
        if not beside.is_file():
            raise UserError(f"{path}: lists {name}, which is missing; make the checkpoint again")
        if beside.stat().st_size != file["size_bytes"]:
            raise UserError(f"{path}: {name} has changed since; make the checkpoint again")
    return manifest


def describe_tensors(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return {name: {dtype, shape, sha256 of the raw little-endian bytes}} over safetensors files.

    Equal hashes mean equal weights, whatever file or shard they are stored in.
    """
    return {
        name: {"dtype": entry["dtype"], "shape": entry["shape"], "sha256": digest}
        for path in paths
        for name, entry, digest in _hash_tensors(path)
    }


def _hash_tensors(path: Path) -> Iterable[tuple[str, dict[str, Any], str]]:
    header, data_start = read_header(path)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        for name, entry in sorted(header.items()):
            begin, end = (data_start + offset for offset in entry["data_offsets"])
            with view[begin:end] as raw:
                yield name, entry, hashlib.sha256(raw).hexdigest()


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return a safetensors file's {name: {dtype, shape, data_offsets}} and where its data begins.

    Raises:
        UserError: the file is truncated or not a safetensors file.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 + length or length < 2:
            raise UserError(f"{path}: truncated, or not a safetensors file")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise UserError(f"{path}: not a safetensors file ({error})") from error
    header.pop("__metadata__", None)
    data_bytes = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if data_bytes != size - 8 - length:
        raise UserError(
            f"{path}: truncated: {size - 8 - length} bytes of tensors, its header says {data_bytes}"
        )
    return header, 8 + length
