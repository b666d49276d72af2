"""Weights as ``pytorch_model*.bin``, as the library wrote them before safetensors; and bad ones."""

import io
import json
import os

import torch


class RunsCommand:
    """What a malicious pickle holds: unpickling it runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def save_bytes(content, **keywords):
    """Return the bytes of ``torch.save``."""
    file = io.BytesIO()
    torch.save(content, file, **keywords)
    return file.getvalue()


def save_pickled(tensors, directory, num_shards=1, **keywords):
    """Write {name: tensor} as one file, or as shards with an index; tied tensors in one shard."""
    directory.mkdir(parents=True, exist_ok=True)
    if num_shards == 1:
        torch.save(tensors, directory / "pytorch_model.bin", **keywords)
        return
    storages = sorted({tensor.untyped_storage().data_ptr() for tensor in tensors.values()})
    weight_map = {
        name: f"pytorch_model-{1 + number % num_shards:05d}-of-{num_shards:05d}.bin"
        for name, tensor in tensors.items()
        for number in [storages.index(tensor.untyped_storage().data_ptr())]
    }
    for file in set(weight_map.values()):
        part = {name: tensors[name] for name, place in weight_map.items() if place == file}
        torch.save(part, directory / file, **keywords)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))
