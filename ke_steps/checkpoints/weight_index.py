"""The index of weights in several files, as later jobs need it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ke_steps.checkpoints.tensors import read_header
from ke_steps.checkpoints.weight_files import INDEX
from ke_steps.job.files import read_object, write_json


def write_index(source: Path, shards: Iterable[Path], directory: Path) -> None:
    """Write the index of a directory's shards anew into another.

    transformers demands ``metadata`` of an index, which some lack; and it reads every tensor of
    every shard, wherever the index has it.

    Args:
        source: the directory; its index is known to name the shards.
        shards: the files of weights; no tensor is in two (see ``outside_checks.find_weights``).
        directory: where the checkpoint is written.
    """
    metadata = read_object(source / INDEX).get("metadata")
    weight_map = {tensor: path.name for path in shards for tensor in read_header(path)[0]}
    content = {
        "metadata": metadata if isinstance(metadata, dict) else {},
        "weight_map": dict(sorted(weight_map.items())),
    }
    write_json(directory / INDEX, content)
