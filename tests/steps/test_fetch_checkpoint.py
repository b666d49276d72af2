"""Checkpoints from outside: what is taken, and what is refused in one line."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model
from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.fetching import fetch_local
from tests.invented.models import PAD_ID, build_model, build_tokenizer, random_sequences

CPU = torch.device("cpu")


def build_source(directory, family="llama", **overrides):
    """Write a Hugging Face directory as its own tools would; return the model."""
    model = build_model(family, **overrides)
    model.save_pretrained(directory)
    build_tokenizer(directory)
    return model


@pytest.fixture
def source(tmp_path):
    build_source(tmp_path / "source")
    return tmp_path / "source"


def edit_weights(source, change):
    tensors = load_file(source / "model.safetensors")
    change(tensors)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("family", ["olmo", "llama", "gpt_neox"])
def test_a_directory_becomes_a_checkpoint(tmp_path, family):
    model = build_source(tmp_path / "run" / "step3", family)
    manifest = fetch_local(tmp_path / "run" / "step{step}", tmp_path / "out" / "manifest.json")
    described = read_checkpoint_manifest(manifest)
    assert described["step"] == 3
    assert described["architecture"] == type(model).__name__
    assert described["num_parameters"] == model.num_parameters()
    assert described["source"] == {"kind": "directory", "path": str(tmp_path / "run" / "step3")}
    link = manifest.parent / "model.safetensors"
    assert link.is_symlink()
    assert link.readlink() == (tmp_path / "run" / "step3" / "model.safetensors").resolve()
    loaded = load_model(manifest, device=CPU)
    ids = torch.tensor(random_sequences(2, 8))
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, loaded(ids).logits)
    assert load_tokenizer(manifest.parent).pad_token_id == PAD_ID


def test_shards(tmp_path):
    model = build_model()
    source = tmp_path / "source"
    model.save_pretrained(source, max_shard_size="50KB")
    build_tokenizer(source)
    shards = sorted(source.glob("*.safetensors"))
    assert len(shards) > 1
    manifest = fetch_local(source, tmp_path / "out" / "manifest.json")
    loaded = load_model(manifest, device=CPU)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    shards[0].unlink()
    with pytest.raises(UserError, match=f"names {shards[0].name}, which is missing"):
        fetch_local(source, tmp_path / "again" / "manifest.json")


def test_transformers_keeps_quiet(tmp_path, source, capfd):
    transformers.logging.set_verbosity_info()
    transformers.logging.enable_progress_bar()
    capfd.readouterr()
    fetch_local(source, tmp_path / "out" / "manifest.json")
    assert capfd.readouterr().err == ""


def test_equal_weights_have_equal_hashes(tmp_path):
    """However they are stored: that is how byte-identical checkpoints are found out."""
    model = build_model()
    tensors = []
    for name, size in {"whole": "5GB", "shards": "50KB"}.items():
        model.save_pretrained(tmp_path / name, max_shard_size=size)
        build_tokenizer(tmp_path / name)
        manifest = fetch_local(tmp_path / name, tmp_path / f"{name}_out" / "manifest.json")
        tensors.append(read_checkpoint_manifest(manifest)["tensors"])
    assert tensors[0] == tensors[1]


def test_fetching_again_replaces(tmp_path, source):
    manifest = fetch_local(source, tmp_path / "out" / "manifest.json")
    first = manifest.read_bytes()
    assert fetch_local(source, manifest).read_bytes() == first
    assert (source / "model.safetensors").is_file()


def break_pickle(source):
    (source / "model.safetensors").rename(source / "model.ckpt")


def break_nothing_there(source):
    (source / "model.safetensors").unlink()


def break_truncated(source):
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def break_header(source):
    (source / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0this is not json")


def break_empty(source):
    (source / "model.safetensors").write_bytes(b"")


def break_nan(source):
    edit_weights(source, lambda t: t["model.layers.1.mlp.up_proj.weight"].view(-1)[5].fill_(np.nan))


def break_inf(source):
    edit_weights(source, lambda t: t["model.norm.weight"][2].fill_(np.inf))


def break_missing_tensor(source):
    edit_weights(source, lambda t: t.pop("model.layers.1.mlp.gate_proj.weight"))


def break_unexpected_tensor(source):
    edit_weights(source, lambda t: t.update({"model.layers.1.mlp.extra.weight": torch.ones(2)}))


def break_shape(source):
    edit_json(source / "config.json", intermediate_size=48)


def break_architecture(source):
    edit_json(source / "config.json", architectures=["GemmaForCausalLM"])


def break_config(source):
    (source / "config.json").write_text("{")


def break_tokenizer_missing(source):
    (source / "tokenizer.json").unlink()


def break_tokenizer_config(source):
    (source / "tokenizer_config.json").write_text('{"eos_token": "<fin>"}')


def break_tokenizer_syntax(source):
    (source / "tokenizer.json").write_text('{"version":')


def break_tokenizer_form(source):
    (source / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "None"}}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_pickle, r"model\.ckpt is a pickle.*refused"),
        (break_nothing_there, r"neither model\.safetensors nor model\.safetensors\.index\.json"),
        (break_truncated, r"model\.safetensors: truncated: \d+ bytes"),
        (break_header, r"model\.safetensors: not a safetensors file"),
        (break_empty, r"model\.safetensors: truncated, or not a safetensors file"),
        (break_nan, r"tensor model\.layers\.1\.mlp\.up_proj\.weight holds NaN or Inf"),
        (break_inf, r"tensor model\.norm\.weight holds NaN or Inf"),
        (break_missing_tensor, r"tensor model\.layers\.1\.mlp\.gate_proj\.weight is missing"),
        (break_unexpected_tensor, r"mlp\.extra\.weight has no place in LlamaForCausalLM"),
        (break_shape, r"is \(\d+, \d+\), config\.json says \(\d+, \d+\)"),
        (break_architecture, "'GemmaForCausalLM' is unknown, known are OlmoForCausalLM, Olmo2"),
        (break_config, r"config\.json: not a readable model config"),
        (break_tokenizer_missing, r"tokenizer\.json: not a readable JSON file .*No such file"),
        (break_tokenizer_config, "eos_token is missing or unknown"),
        (break_tokenizer_syntax, r"tokenizer\.json: not a readable JSON file"),
        (break_tokenizer_form, r"tokenizer\.json: not a tokenizer"),
    ],
)
def test_damage_is_refused_in_one_line(tmp_path, source, damage, message):
    damage(source)
    manifest = tmp_path / "out" / "manifest.json"
    with pytest.raises(UserError, match=message) as refusal:
        fetch_local(source, manifest)
    assert "\n" not in str(refusal.value)
    assert not manifest.exists()


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    build_source(tmp_path / "source", vocab_size=300)
    with pytest.raises(UserError, match="ids up to 319, the embedding only 300 rows"):
        fetch_local(tmp_path / "source", tmp_path / "out" / "manifest.json")


@pytest.mark.parametrize(("kind", "what"), [("directory", "directory"), ("gguf", "file")])
def test_a_missing_source_is_refused(tmp_path, kind, what):
    with pytest.raises(UserError, match=rf"source\.path: no such {what}"):
        fetch_local(tmp_path / "nowhere", tmp_path / "out" / "manifest.json", kind)


def test_the_source_is_left_alone(tmp_path, source):
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    manifest = fetch_local(source, tmp_path / "out" / "manifest.json")
    shutil.rmtree(manifest.parent)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
