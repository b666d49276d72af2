"""Weights as ``pytorch_model*.bin``, as the library wrote them before safetensors; and bad ones."""

import io
import json
import os

import torch
from safetensors.torch import load_file

from ke_steps.checkpoints import pickled_weights
from tests.invented.models import build_tokenizer


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


def state_of(model, directory):
    """Write a model; return its weights by the names of public files, tied ones sharing values."""
    model.save_pretrained(directory)
    build_tokenizer(directory)
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    embedding = names[id(model.get_input_embeddings().weight)]
    head = "embed_out.weight" if model.config.model_type == "gpt_neox" else "lm_head.weight"
    if model.config.tie_word_embeddings:
        tensors[head] = tensors[embedding]
    assert (tensors[head] is tensors[embedding]) == model.config.tie_word_embeddings
    return tensors


def read_in_this_process(monkeypatch):
    """Spare the start of a process, which most tests are not about."""

    def read_here(pickles, targets):
        for source, target in zip(pickles, targets, strict=True):
            tensors = pickled_weights.read_tensors(source)
            pickled_weights.save_file(tensors, target, metadata={"format": "pt"})

    monkeypatch.setattr(pickled_weights, "_read_apart", read_here)
