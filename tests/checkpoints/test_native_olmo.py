"""OLMo's own format: converted weights give the logits of OLMo's own forward pass."""

import base64
import json
import math
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file, save_file

from ke_steps import fetch_checkpoint
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model
from ke_steps.settings.checkpoints import FetchCheckpoint
from tests.invented.models import build_tokenizer, random_sequences
from tests.invented.pickles import save_pickled

CPU = torch.device("cpu")
WIDTH, HEADS, LAYERS, VOCAB = 32, 4, 2, 320
CONFIG = {
    "d_model": WIDTH,
    "n_heads": HEADS,
    "n_layers": LAYERS,
    "mlp_ratio": 6,
    "vocab_size": VOCAB - 3,
    "embedding_size": VOCAB,
    "max_sequence_length": 64,
    "weight_tying": False,
    "activation_type": "swiglu",
    "block_type": "sequential",
    "layer_norm_type": "default",
    "layer_norm_with_affine": False,
    "include_bias": False,
    "rope": True,
    "alibi": False,
    "clip_qkv": None,
    "eos_token_id": 0,
    "pad_token_id": 1,
}


def build_tensors(config, prefix=""):
    """Return random weights under OLMo's names, as its trainer stores them."""
    generator = torch.Generator().manual_seed(3)
    fused = config.get("mlp_hidden_size") or config["mlp_ratio"] * WIDTH
    kv_heads = 1 if config.get("multi_query_attention") else config.get("n_kv_heads") or HEADS
    shapes = {"transformer.wte.weight": (VOCAB, WIDTH)}
    if not config["weight_tying"]:
        shapes["transformer.ff_out.weight"] = (VOCAB, WIDTH)
    for layer in range(LAYERS):
        block = f"transformer.blocks.{layer}"
        shapes[f"{block}.att_proj.weight"] = (WIDTH + 2 * kv_heads * WIDTH // HEADS, WIDTH)
        shapes[f"{block}.attn_out.weight"] = (WIDTH, WIDTH)
        shapes[f"{block}.ff_proj.weight"] = (fused, WIDTH)
        shapes[f"{block}.ff_out.weight"] = (WIDTH, fused // 2)
    return {
        prefix + name: torch.randn(shape, generator=generator) * 0.2
        for name, shape in shapes.items()
    }


def olmo_logits(ids, tensors, config):
    """OLMo's sequential block as its own code has it, for one sequence ids (T,): logits (T, V)."""

    def normalise(x):
        return (x - x.mean(-1, keepdim=True)) / torch.sqrt(
            x.var(-1, keepdim=True, correction=0) + 1e-5
        )

    def rotate(x):  # (heads, T, size of a head)
        half = x.shape[-1] // 2
        theta = config.get("rope_theta", 10000.0)
        frequencies = 1 / theta ** (torch.arange(half) / half)
        angles = torch.arange(len(ids))[:, None] * frequencies
        first, second = x[..., :half], x[..., half:]
        return torch.cat(
            [
                first * angles.cos() - second * angles.sin(),
                second * angles.cos() + first * angles.sin(),
            ],
            dim=-1,
        )

    size = WIDTH // HEADS
    hidden = tensors["transformer.wte.weight"][ids]
    causal = torch.ones(len(ids), len(ids)).tril().log()
    for layer in range(LAYERS):
        weight = {
            part: tensors[f"transformer.blocks.{layer}.{part}.weight"]
            for part in ("att_proj", "attn_out", "ff_proj", "ff_out")
        }
        fused = normalise(hidden) @ weight["att_proj"].T
        if config["clip_qkv"] is not None:
            fused = fused.clamp(-config["clip_qkv"], config["clip_qkv"])
        kv_width = (fused.shape[1] - WIDTH) // 2
        query, key, value = (
            part.view(len(ids), -1, size).transpose(0, 1)
            for part in fused.split([WIDTH, kv_width, kv_width], dim=1)
        )
        key, value = (x.repeat_interleave(HEADS // len(x), dim=0) for x in (key, value))
        scores = rotate(query) @ rotate(key).transpose(1, 2) / math.sqrt(size)
        mixed = (scores + causal).softmax(-1) @ value
        hidden = hidden + mixed.transpose(0, 1).reshape(len(ids), WIDTH) @ weight["attn_out"].T
        up, gate = (normalise(hidden) @ weight["ff_proj"].T).chunk(2, dim=1)
        hidden = hidden + (F.silu(gate) * up) @ weight["ff_out"].T
    name = "transformer.wte.weight" if config["weight_tying"] else "transformer.ff_out.weight"
    return normalise(hidden) @ tensors[name].T


def build_native(directory, *, config=CONFIG, as_json=False, prefix=""):
    """Write a native checkpoint with a tokenizer; return its tensors without the prefix."""
    build_tokenizer(directory)
    save_file(build_tensors(config, prefix), directory / "model.safetensors")
    if as_json:
        (directory / "config.json").write_text(json.dumps(config | {"model_type": "hf_olmo"}))
    else:
        (directory / "config.yaml").write_text(yaml.safe_dump({"model": config, "seed": 1}))
    return build_tensors(config)


def fetch(source, manifest):
    settings = FetchCheckpoint.model_validate(
        {"source": {"kind": "directory", "path": str(source)}, "step": 5}
    )
    fetch_checkpoint.run(output=manifest, settings=settings)
    return manifest


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight_tying": True},
        {"clip_qkv": 0.5},
        {"rope_theta": 500.0},
        {"n_kv_heads": 2},
        {"multi_query_attention": True},
        {"mlp_hidden_size": 80, "embedding_size": VOCAB},
    ],
)
def test_parity_of_logits(tmp_path, changes):
    config = CONFIG | changes
    tensors = build_native(tmp_path / "native", config=config)
    manifest = fetch(tmp_path / "native", tmp_path / "out" / "manifest.json")
    model = load_model(manifest, device=CPU)
    ids = torch.tensor(random_sequences(1, 24))
    with torch.inference_mode():
        logits = model(ids).logits[0]
    expected = olmo_logits(ids[0].long(), tensors, config)
    assert expected.std() > 0.5
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_manifest_of_a_converted_checkpoint(tmp_path):
    build_native(tmp_path / "native")
    manifest = fetch(tmp_path / "native", tmp_path / "out" / "manifest.json")
    described = read_checkpoint_manifest(manifest)
    assert described["architecture"] == "OlmoForCausalLM"
    assert described["num_memories"] == 6 * WIDTH // 2
    assert set(described["files"]) == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip
    assert not (manifest.parent / "model.safetensors").is_symlink()


def test_the_hubs_wrapper_of_the_native_format(tmp_path):
    """``config.json`` of type hf_olmo, names that begin with ``model.``."""
    build_native(tmp_path / "yaml")
    build_native(tmp_path / "json", as_json=True, prefix="model.")
    one, two = (
        read_checkpoint_manifest(fetch(tmp_path / kind, tmp_path / f"{kind}_out/manifest.json"))
        for kind in ("yaml", "json")
    )
    assert one["tensors"] == two["tensors"]
    assert one["files"] == two["files"]


def pickled_name(keys, *, is_value_pickled=False, protocol=4):
    """Return a name as OLMo's trainer writes it."""
    return base64.urlsafe_b64encode(pickle.dumps((keys, is_value_pickled), protocol)).decode()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_names_as_the_trainer_pickles_them(tmp_path, protocol):
    for kind in ("plain", "pickled"):
        build_native(tmp_path / kind)
    tensors = load_file(tmp_path / "plain/model.safetensors")
    named = {pickled_name((name,), protocol=protocol): t for name, t in tensors.items()}
    save_file(named, tmp_path / "pickled/model.safetensors")
    one, two = (
        read_checkpoint_manifest(fetch(tmp_path / kind, tmp_path / f"{kind}_out/manifest.json"))
        for kind in ("plain", "pickled")
    )
    assert one["tensors"] == two["tensors"]
    assert one["files"] == two["files"]


@pytest.mark.parametrize("num_shards", [1, 2])
def test_pickled_weights_of_the_native_format(tmp_path, num_shards):
    for kind in ("safe", "pickled"):
        build_native(tmp_path / kind)
    (tmp_path / "pickled/model.safetensors").unlink()
    save_pickled(load_file(tmp_path / "safe/model.safetensors"), tmp_path / "pickled", num_shards)
    one, two = (
        read_checkpoint_manifest(fetch(tmp_path / kind, tmp_path / f"{kind}_out/manifest.json"))
        for kind in ("safe", "pickled")
    )
    assert one["tensors"] == two["tensors"]
    assert one["files"] == two["files"]
    assert {path.name for path in (tmp_path / "pickled_out").iterdir()} == {
        *two["files"], "manifest.json"
    }  # fmt: skip


def test_a_converted_checkpoint_can_be_read_by_all_who_read_its_config(tmp_path):
    build_native(tmp_path / "native")
    manifest = fetch(tmp_path / "native", tmp_path / "out" / "manifest.json")
    modes = {path.name: path.stat().st_mode for path in manifest.parent.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def edit_config(source, **changes):
    path = source / "config.yaml"
    content = yaml.safe_load(path.read_text())
    content["model"] |= changes
    path.write_text(yaml.safe_dump(content))


def edit_weights(source, change):
    tensors = load_file(source / "model.safetensors")
    change(tensors)
    save_file(tensors, source / "model.safetensors")


def break_pickle(source):
    (source / "model.safetensors").rename(source / "model.pt")


def break_name(source):
    name = pickled_name(("transformer.wte.weight", Path), protocol=2)
    edit_weights(source, lambda t: t.update({name: t.pop("transformer.wte.weight")}))


def break_value(source):
    name = pickled_name(("step",), is_value_pickled=True)
    edit_weights(source, lambda t: t.update({name: torch.ones(9, dtype=torch.uint8)}))


def break_twice(source):
    for protocol in (2, 4):
        name = pickled_name(("transformer.wte.weight",), protocol=protocol)
        edit_weights(source, lambda t, n=name: t.update({n: torch.ones(VOCAB, WIDTH)}))
    edit_weights(source, lambda t: t.pop("transformer.wte.weight"))


def break_tokenizer(source):
    (source / "tokenizer.json").unlink()


def break_yaml(source):
    (source / "config.yaml").write_text("model: [")


def break_sections(source):
    (source / "config.yaml").write_text("seed: 1")


def break_size(source):
    edit_config(source, d_model=None)


def break_activation(source):
    edit_config(source, activation_type="gelu")


def break_norm(source):
    edit_config(source, layer_norm_with_affine=True)


def break_width(source):
    edit_config(source, mlp_ratio=8)


def break_missing(source):
    edit_weights(source, lambda t: t.pop("transformer.blocks.1.ff_proj.weight"))


def break_norm_tensor(source):
    edit_weights(source, lambda t: t.update({"transformer.ln_f.weight": torch.ones(WIDTH)}))


def break_bias(source):
    name = "transformer.blocks.0.att_proj.bias"
    edit_weights(source, lambda t: t.update({name: torch.ones(WIDTH)}))


def break_nan(source):
    name = "transformer.blocks.1.ff_proj.weight"
    edit_weights(source, lambda t: t[name].view(-1)[-1].fill_(math.nan))


def break_prefixes(source):
    name = "transformer.blocks.1.ff_proj.weight"
    edit_weights(source, lambda t: t.update({f"model.{name}": t[name] + 1}))


def break_tied(source):
    edit_config(source, weight_tying=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_pickle, r"model\.pt is a pickle.*refused; .* call it pytorch_model\.bin"),
        (break_name, r"name is a pickle of more than text \(opcode GLOBAL\), which is never run"),
        (break_value, r"name is a pickle, and so is its value, which is never run"),
        (break_twice, r"tensor transformer\.wte\.weight is there twice, under two names"),
        (break_tokenizer, r"tokenizer\.json: not a readable JSON file"),
        (break_yaml, r"config\.yaml: not a readable OLMo config"),
        (break_sections, r"config\.yaml: not a readable OLMo config \('model'\)"),
        (break_size, r"config\.yaml: d_model is None, expected a whole number"),
        (break_activation, r"activation_type is 'gelu', only 'swiglu' can be converted"),
        (break_norm, r"layer_norm_with_affine is True, only False can be converted"),
        (break_width, r"blocks\.0\.ff_proj\.weight has 192 rows, the config says 256"),
        (break_missing, r"tensor model\.layers\.1\.mlp\.gate_proj\.weight is missing"),
        (break_norm_tensor, r"transformer\.ln_f\.weight has no place in OlmoForCausalLM"),
        (break_bias, r"blocks\.0\.att_proj\.bias has no place in OlmoForCausalLM"),
        (break_prefixes, r"blocks\.1\.ff_proj\.weight is there twice, under two names"),
        (break_tied, r"tensor lm_head\.weight is not model\.embed_tokens\.weight"),
        (break_nan, r"tensor model\.layers\.1\.mlp\.gate_proj\.weight holds NaN or Inf"),
    ],
)
def test_damage_is_refused_in_one_line(tmp_path, damage, message):
    build_native(tmp_path / "native")
    damage(tmp_path / "native")
    manifest = tmp_path / "out" / "manifest.json"
    with pytest.raises(UserError, match=message) as refusal:
        fetch(tmp_path / "native", manifest)
    assert "\n" not in str(refusal.value)
    assert not manifest.exists()
