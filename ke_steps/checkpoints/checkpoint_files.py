"""Checkpoint directories: safetensors, config and tokenizer, and the manifest, written last.

A checkpoint is named by its ``manifest.json``: where that is, all it lists is beside it, whole.
This module imports neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_steps.artefacts.manifests import describe_files, read_manifest
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.job.files import NOT_JSON, write_json
from ke_steps.texts.tokenizers import FILES

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def save_checkpoint(
    model: PreTrainedModel,
    tokenizer_directory: Path,
    manifest: Path,
    *,
    step: int,
    source: Mapping[str, Any],
    sizes: Mapping[str, Any],
) -> None:
    """Write a model's weights as safetensors, its config, its tokenizer's files and the manifest.

    Args:
        model: on any device; the dtype of its parameters is kept.
        tokenizer_directory: holds ``tokenizer.json`` and ``tokenizer_config.json``.
        manifest: ``<directory>/manifest.json``; older weights in that directory are replaced.
        step: training steps done.
        source: how the weights came about, as JSON values.
        sizes: the model's architecture and sizes, of ``feed_forward.describe_model``.
    """
    with replacing(manifest) as directory:
        save_weights(model, directory)
        for name in FILES:
            shutil.copyfile(tokenizer_directory / name, directory / name)
        write_manifest(manifest, step=step, source=source, sizes=sizes)


def save_weights(model: PreTrainedModel, directory: Path) -> None:
    """Write a model's safetensors and config.json."""
    model.save_pretrained(directory)
    for path in directory.glob("*.safetensors"):
        # safetensors creates files that only their owner can read
        shutil.copymode(directory / "config.json", path)


@contextmanager
def replacing(manifest: Path) -> Iterator[Path]:
    """Yield the manifest's directory, rid of an earlier checkpoint; an error rids it of the new."""
    directory = manifest.parent
    directory.mkdir(parents=True, exist_ok=True)
    _clear(manifest)
    try:
        yield directory
    except BaseException:
        _clear(manifest)
        raise


def _clear(manifest: Path) -> None:
    manifest.unlink(missing_ok=True)
    for pattern in ("*.json", "*.safetensors"):
        for path in manifest.parent.glob(pattern):
            path.unlink()


def write_manifest(
    manifest: Path, *, step: int, source: Mapping[str, Any], sizes: Mapping[str, Any]
) -> None:
    """Describe the files beside ``manifest`` and write it: from now on the checkpoint exists.

    Args:
        manifest: beside the checkpoint's other files.
        step: training steps done.
        source: where the weights are from, as JSON values.
        sizes: the model's architecture and sizes, of ``feed_forward.describe_model``.
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
            "files": describe_files(files),
            "provenance": provenance.current(),
        },
    )


def read_checkpoint_manifest(path: Path) -> dict[str, Any]:
    """Read a checkpoint's manifest; its weights are not read (see ``artefacts.manifests``)."""
    return read_manifest(path, "checkpoint")


def has_diverged(path: Path) -> bool:
    """Tell whether a checkpoint is what a training that diverged left, by its manifest."""
    return read_checkpoint_manifest(path)["source"].get("diverged_at_step") is not None


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
            raise UserError(f"{path}: truncated, or not a safetensors file; get it again")
        try:
            header = dict(json.loads(file.read(length)))
            header.pop("__metadata__", None)
            ends = [int(entry["data_offsets"][1]) for entry in header.values()]
        except (*NOT_JSON, LookupError, TypeError, AttributeError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path}: not a safetensors file ({reason}); get it again") from error
    data_bytes = max(ends, default=0)
    if data_bytes != size - 8 - length:
        raise UserError(
            f"{path}: truncated: {size - 8 - length} bytes of tensors, its header says"
            f" {data_bytes}; get it again"
        )
    return header, 8 + length
