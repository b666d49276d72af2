"""The hashes of a manifest: over what a model loads, however it is stored."""

import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from ke_steps import fetch_checkpoint
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.checkpoints.tensors import describe_parameters, find_tensors
from ke_steps.models.loading import load_model
from ke_steps.settings.checkpoints import FetchCheckpoint
from ke_steps.summary.checkpoints import weights_sha256
from tests.invented.models import FAMILIES, build_model, build_tokenizer

CPU = torch.device("cpu")


def build_source(directory, model, change=None, **saving):
    model.save_pretrained(directory, **saving)
    build_tokenizer(directory)
    if change is not None:
        path = directory / "model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})
    return directory


def fetch(source):
    manifest = source.with_name(f"{source.name}_out") / "manifest.json"
    settings = FetchCheckpoint.model_validate(
        {"source": {"kind": "directory", "path": str(source)}, "step": 0}
    )
    fetch_checkpoint.run(output=manifest, settings=settings)
    return manifest


def tensors_of(source):
    return read_checkpoint_manifest(fetch(source))["tensors"]


def hash_of(source):
    return weights_sha256(tensors_of(source))


def rounded(model, dtype=torch.bfloat16):
    """Give a model values that fp32, fp16 and bf16 all have."""
    with torch.no_grad():
        for parameter in model.parameters():
            coarse = parameter.to(torch.bfloat16).float()
            parameter.copy_(torch.where(coarse.abs() < 2.0**-6, 0.0, coarse))
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_hashes_are_of_the_parameters_that_the_model_loads(tmp_path, family):
    manifest = fetch(build_source(tmp_path / "source", build_model(family)))
    loaded = load_model(manifest, device=CPU)
    expected = {
        name: {
            "dtype": "F32",
            "shape": list(parameter.shape),
            "sha256": hashlib.sha256((parameter.detach() + 0).numpy().tobytes()).hexdigest(),
        }
        for name, parameter in loaded.named_parameters()
    }
    described = read_checkpoint_manifest(manifest)
    assert described["tensors"] == expected
    assert described["num_parameters"] == sum(p.numel() for p in loaded.parameters())


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "olmoe"])
def test_equal_values_have_equal_hashes_however_they_are_stored(tmp_path, family):
    model = rounded(build_model(family))
    first = hash_of(build_source(tmp_path / "first", model))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):

        def cast(tensors, dtype=dtype):
            return {name: value.to(dtype) for name, value in tensors.items()}

        source = build_source(tmp_path / f"{dtype}"[6:], model, cast)
        assert hash_of(source) == first
    assert hash_of(build_source(tmp_path / "shards", model, max_shard_size="50KB")) == first

    def backwards(tensors):
        return {name: torch.where(v == 0, -0.0, v) for name, v in reversed(tensors.items())}

    assert hash_of(build_source(tmp_path / "negative_zeros", model, backwards)) == first


@pytest.mark.parametrize("family", ["olmo", "gpt2"])
def test_tied_weights_count_once(tmp_path, family):
    model = build_model(family)
    embedding = dict(model.named_parameters(remove_duplicate=False))
    (copy, original), *_ = model.all_tied_weights_keys.items()
    once = tensors_of(build_source(tmp_path / "once", model))
    assert copy not in once

    def twice(tensors):
        return tensors | {name: embedding[name].detach().clone() for name in (copy, original)}

    def by_the_other_name(tensors):
        return {copy if name == original else name: value for name, value in tensors.items()}

    assert tensors_of(build_source(tmp_path / "twice", model, twice)) == once
    assert tensors_of(build_source(tmp_path / "other", model, by_the_other_name)) == once
    manifest = fetch(tmp_path / "twice")
    assert read_checkpoint_manifest(manifest)["num_parameters"] == model.num_parameters()


def test_weights_that_are_tied_by_name_alone_count_twice(tmp_path):
    save_file({"a": torch.ones(2), "b": torch.zeros(2)}, tmp_path / "x.safetensors")
    parts, shapes = {"a": ["a"], "b": ["b"]}, {"a": [2], "b": [2]}
    stored = find_tensors([tmp_path / "x.safetensors"])
    assert set(describe_parameters(stored, parts, shapes, tied={"a": "b"})) == {"a", "b"}


def test_experts_in_one_tensor_are_those_apart(tmp_path):
    model = build_model("olmoe")
    once = hash_of(build_source(tmp_path / "apart", model))

    def fused(_):
        return {name: p.detach().clone() for name, p in model.named_parameters()}

    assert hash_of(build_source(tmp_path / "fused", model, fused)) == once


def test_other_values_have_other_hashes(tmp_path):
    model = build_model("llama")

    def nudge(tensors):
        tensors["model.norm.weight"][3] += 1e-6
        return tensors

    def swap(tensors):
        first, second = (f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1))
        return tensors | {first: tensors[second], second: tensors[first]}

    def round_off(tensors):
        return {name: value.bfloat16() for name, value in tensors.items()}

    hashes = [hash_of(build_source(tmp_path / "0", model))]
    for index, change in enumerate((nudge, swap, round_off), start=1):
        hashes.append(hash_of(build_source(tmp_path / str(index), model, change)))
    assert len(set(hashes)) == len(hashes)
