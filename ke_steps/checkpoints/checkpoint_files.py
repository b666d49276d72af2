"""Checkpoint directories: safetensors, config and tokenizer, and the manifest, written last.

A checkpoint is named by its ``manifest.json``: where that is, all it lists is beside it, whole.
This module imports neither torch nor transformers.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_steps.artefacts.manifests import describe_files, read_manifest
from ke_steps.checkpoints.tensors import describe_parameters, find_tensors
from ke_steps.job import provenance
from ke_steps.job.files import write_json
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
        write_manifest(manifest, model, step=step, source=source, sizes=sizes)


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
    manifest: Path,
    model: PreTrainedModel,
    *,
    step: int,
    source: Mapping[str, Any],
    sizes: Mapping[str, Any],
) -> None:
    """Describe the files beside ``manifest`` and write it: from now on the checkpoint exists.

    Args:
        manifest: beside the checkpoint's other files.
        model: of these files; its values are not looked at, it may be on the meta device.
        step: training steps done.
        source: where the weights are from, as JSON values.
        sizes: the model's architecture and sizes, of ``feed_forward.describe_model``.
    """
    files = sorted(
        path for path in manifest.parent.iterdir() if path.suffix in {".json", ".safetensors"}
    )
    weights = [path for path in files if path.suffix == ".safetensors"]
    tensors = _describe_tensors(weights, model)
    write_json(
        manifest,
        {
            "kind": "checkpoint",
            "step": step,
            **sizes,
            "num_parameters": sum(math.prod(tensor["shape"]) for tensor in tensors.values()),
            "source": dict(source),
            "tensors": tensors,
            "files": describe_files(files),
            "provenance": provenance.current(),
        },
    )


def _describe_tensors(weights: list[Path], model: PreTrainedModel) -> dict[str, dict[str, Any]]:
    """Describe the model's parameters as the files hold them (see ``tensors``)."""
    from ke_steps.checkpoints.loaded_names import loaded_names

    stored = find_tensors(weights)
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    tied = model.all_tied_weights_keys
    return describe_parameters(stored, loaded_names(model, stored), shapes, tied)


def read_checkpoint_manifest(path: Path) -> dict[str, Any]:
    """Read a checkpoint's manifest; its weights are not read (see ``artefacts.manifests``)."""
    return read_manifest(path, "checkpoint")


def has_diverged(path: Path) -> bool:
    """Tell whether a checkpoint is what a training that diverged left, by its manifest."""
    return read_checkpoint_manifest(path)["source"].get("diverged_at_step") is not None
