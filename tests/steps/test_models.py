"""Feed-forward layers as memories, loading, and multipliers."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ke_steps import _checkpoints, _models
from ke_steps._errors import UserError
from tests import conftest

FAMILIES = ["olmo", "llama", "gpt_neox"]
GATED = ["olmo", "llama"]
CPU = torch.device("cpu")


def record(modules, model, input_ids):
    """Return the inputs and outputs of ``modules`` in a forward pass of the body."""
    inputs, outputs = [], []

    def keep(_, given, result):
        inputs.append(given[0])
        outputs.append(result)

    handles = [module.register_forward_hook(keep) for module in modules]
    with torch.inference_mode():
        model.base_model(input_ids=input_ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return inputs, outputs


def token_ids(seed=0):
    return torch.from_numpy(conftest.random_sequences(3, 16, seed=seed)).long()


def write_multipliers(path, multipliers):
    save_file({"multipliers": multipliers}, path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_memories_times_coefficients_are_the_layer(family):
    model = conftest.build_model(family)
    layers = _models.feed_forward(model)
    assert layers.num_layers == conftest.NUM_LAYERS
    assert layers.num_memories == conftest.NUM_MEMORIES
    assert [tuple(up.weight.shape) for up in layers.up_projections] == [(64, 32)] * 2
    coefficients, _ = record(layers.output_projections, model, token_ids())
    _, layer_outputs = record([layer.mlp for layer in model.base_model.layers], model, token_ids())
    for layer, c in enumerate(coefficients):
        vectors = layers.memory_vectors(layer)
        total = sum(c[..., [i]] * vectors[i] for i in range(layers.num_memories))
        bias = layers.output_projections[layer].bias
        total = total if bias is None else total + bias
        torch.testing.assert_close(total, layer_outputs[layer], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_load_returns_what_was_saved(tmp_path, family):
    model = conftest.build_model(family)
    manifest = conftest.build_checkpoint(tmp_path / family, model=model)
    loaded = _models.load_model(manifest, device=CPU)
    assert not loaded.training
    assert loaded.config._attn_implementation == "sdpa"
    for (name, expected), (other, found) in zip(
        model.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(expected, found)
    with torch.inference_mode():
        assert torch.equal(model(token_ids()).logits, loaded(token_ids()).logits)


@pytest.mark.parametrize("family", GATED)
def test_multipliers_scale_coefficients_of_the_same_input(tmp_path, family):
    overrides = {"mlp_bias": True} if family == "llama" else {}
    model = conftest.build_model(family, **overrides)
    manifest = conftest.build_checkpoint(tmp_path / family, model=model)
    factors = torch.rand(2, 64) * 3
    path = write_multipliers(tmp_path / "multipliers.safetensors", factors)
    scaled = _models.load_model(manifest, multipliers=path, device=CPU)
    given = torch.randn(5, conftest.HIDDEN_SIZE)
    for layer in range(2):
        pair = []
        for m in (model, scaled):
            mlp = m.base_model.layers[layer].mlp
            pair.append(mlp.act_fn(mlp.gate_proj(given)) * mlp.up_proj(given))
        torch.testing.assert_close(pair[1], pair[0] * factors[layer], rtol=1e-5, atol=1e-6)


def test_multipliers_are_applied_before_the_cast(tmp_path):
    manifest = conftest.build_checkpoint(tmp_path / "olmo")
    plain = _models.load_model(manifest, device=CPU)
    factors = torch.rand(2, 64) * 3
    path = write_multipliers(tmp_path / "multipliers.safetensors", factors)
    scaled = _models.load_model(manifest, multipliers=path, dtype=torch.bfloat16, device=CPU)
    for layer in range(2):
        weight = _models.feed_forward(plain).up_projections[layer].weight * factors[layer][:, None]
        found = _models.feed_forward(scaled).up_projections[layer].weight
        assert torch.equal(found, weight.to(torch.bfloat16))


def test_unit_multipliers_change_nothing_in_bf16(tmp_path):
    """Also the rotary frequencies stay in fp32 through the cast."""
    manifest = conftest.build_checkpoint(tmp_path / "olmo")
    path = write_multipliers(tmp_path / "multipliers.safetensors", torch.ones(2, 64))
    keywords = {"dtype": torch.bfloat16, "device": CPU}
    plain = _models.load_model(manifest, **keywords)
    unit = _models.load_model(manifest, multipliers=path, **keywords)
    assert unit.base_model.rotary_emb.inv_freq.dtype == torch.float32
    with torch.inference_mode():
        assert torch.equal(plain(token_ids()).logits, unit(token_ids()).logits)


def test_tied_embeddings_stay_tied_under_multipliers(tmp_path):
    manifest = conftest.build_checkpoint(tmp_path / "olmo")
    path = write_multipliers(tmp_path / "multipliers.safetensors", torch.ones(2, 64))
    model = _models.load_model(manifest, multipliers=path, dtype=torch.bfloat16, device=CPU)
    assert model.lm_head.weight.data_ptr() == model.base_model.embed_tokens.weight.data_ptr()


def test_ungated_layers_refuse_multipliers(tmp_path):
    manifest = conftest.build_checkpoint(tmp_path / "neox", "gpt_neox")
    path = write_multipliers(tmp_path / "multipliers.safetensors", torch.ones(2, 64))
    with pytest.raises(UserError, match="not linear in a row of the up projection"):
        _models.load_model(manifest, multipliers=path, device=CPU)


def test_multipliers_of_another_shape_are_refused(tmp_path, checkpoint):
    path = write_multipliers(tmp_path / "multipliers.safetensors", torch.ones(2, 63))
    with pytest.raises(UserError, match=r"multipliers are \(2, 63\), model is \(2, 64\)"):
        _models.load_model(checkpoint, multipliers=path, device=CPU)
    path.write_bytes(b"nonsense")
    with pytest.raises(UserError, match="no readable tensor 'multipliers'"):
        _models.load_model(checkpoint, multipliers=path, device=CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "known are OlmoForCausalLM, Llama.*, GPTNeoX"),
        ({"architectures": None}, "architecture None is unknown"),
        ({"hidden_size": "wide"}, "not a readable model config .*hidden_size"),
        ({"model_type": "qwen2"}, "model_type 'qwen2' does not belong to OlmoForCausalLM"),
    ],
)
def test_foreign_configs_are_refused(tmp_path, checkpoint, change, message):
    config = json.loads((checkpoint.parent / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        _models.read_config(tmp_path)


def test_unknown_model_class_is_refused():
    with pytest.raises(UserError, match="architecture 'Linear' is unknown"):
        _models.feed_forward(torch.nn.Linear(1, 1))


def test_manifest_describes_the_checkpoint(tmp_path):
    model = conftest.build_model()
    manifest = conftest.build_checkpoint(tmp_path / "olmo", model=model, step=7)
    described = _checkpoints.read_manifest(manifest)
    assert described["step"] == 7
    assert described["architecture"] == "OlmoForCausalLM"
    assert described["num_layers"] == 2
    assert described["num_memories"] == 64
    assert described["hidden_size"] == 32
    assert described["vocab_size"] == conftest.VOCAB_SIZE
    assert described["num_parameters"] == model.num_parameters()
    assert set(described["files"]) >= {"config.json", "model.safetensors", "tokenizer.json"}
    name = "model.layers.0.mlp.up_proj.weight"
    raw = model.state_dict()[name].numpy().tobytes()
    assert described["tensors"][name] == {
        "dtype": "F32",
        "shape": [64, 32],
        "sha256": hashlib.sha256(raw).hexdigest(),
    }


def test_saving_twice_gives_the_same_bytes(tmp_path):
    model = conftest.build_model()
    first, second = (
        conftest.build_checkpoint(tmp_path / name, model=model).parent for name in ("a", "b")
    )
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_saving_replaces_an_earlier_checkpoint(tmp_path):
    manifest = conftest.build_checkpoint(tmp_path / "olmo")
    stale = manifest.parent / "model-00001-of-00002.safetensors"
    shutil.copyfile(manifest.parent / "model.safetensors", stale)
    conftest.build_checkpoint(tmp_path / "olmo")
    assert not stale.exists()


def test_damaged_checkpoints_are_refused(tmp_path):
    manifest = conftest.build_checkpoint(tmp_path / "olmo")
    weights = manifest.parent / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"model\.safetensors has changed since"):
        _models.load_model(manifest, device=CPU)
    weights.unlink()
    with pytest.raises(UserError, match=r"lists model\.safetensors, which is missing"):
        _models.load_model(manifest, device=CPU)
    manifest.write_text("{")
    with pytest.raises(UserError, match="not a readable manifest"):
        _models.load_model(manifest, device=CPU)
    manifest.write_text('{"kind": "tokenizer"}')
    with pytest.raises(UserError, match="not the manifest of a checkpoint"):
        _models.load_model(manifest, device=CPU)


def test_seeded_torch_repeats():
    draws = []
    for _ in range(2):
        _models.prepare_torch(1, seed=3)
        draws.append((torch.rand(2).tolist(), np.random.rand()))
    torch.use_deterministic_algorithms(False)
    assert draws[0] == draws[1]
