"""Loading, interventions, logits, and what a manifest says."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.checkpoints.families import read_model_config
from ke_steps.job.errors import UserError
from ke_steps.models.feed_forward import feed_forward
from ke_steps.models.loading import load_model, output_logits, prepare_torch, unembedding_of
from tests.invented.models import (
    FAMILIES,
    HIDDEN_SIZE,
    VOCAB_SIZE,
    build_checkpoint,
    build_model,
    random_sequences,
)

UNGATED = ["gpt_neox", "gpt2"]
CPU = torch.device("cpu")


def token_ids(seed=0):
    return torch.from_numpy(random_sequences(3, 16, seed=seed)).long()


def write_rows(path, factors, target="up_rows"):
    save_file({target: factors}, path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_load_returns_what_was_saved(tmp_path, family):
    model = build_model(family)
    manifest = build_checkpoint(tmp_path / family, model=model)
    loaded = load_model(manifest, device=CPU)
    assert not loaded.training
    # torch's own attention has no cap on the scores
    expected = "eager" if family == "gemma2" else "sdpa"
    assert loaded.config._attn_implementation == expected
    for (name, expected), (other, found) in zip(
        model.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(expected, found)
    with torch.inference_mode():
        assert torch.equal(model(token_ids()).logits, loaded(token_ids()).logits)


def test_capped_attention_scores_are_loaded_capped(tmp_path):
    model = build_model("gemma2", attn_logit_softcapping=0.5)
    manifest = build_checkpoint(tmp_path / "gemma2", model=model)
    uncapped = build_model("gemma2", attn_logit_softcapping=None)
    loaded = load_model(manifest, device=CPU)
    with torch.inference_mode():
        logits, plain = loaded(token_ids()).logits, uncapped(token_ids()).logits
    assert not torch.allclose(logits, plain, atol=1e-3)


@pytest.mark.parametrize("key", ["attn_logit_softcapping", "final_logit_softcapping"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cap_that_the_architecture_does_not_apply_is_refused(tmp_path, family, key):
    """Whether it does is seen in what the model computes with and without the cap."""
    capped, plain = (build_model(family, **{key: cap}) for cap in (0.1, None))
    with torch.inference_mode():
        is_applied = not torch.equal(capped(token_ids()).logits, plain(token_ids()).logits)
    capped.save_pretrained(tmp_path)
    if is_applied:
        assert getattr(read_model_config(tmp_path), key) == 0.1
    else:
        with pytest.raises(UserError, match=f"config.json: {key} is 0.1, which .* does not apply"):
            read_model_config(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_output_logits_are_those_of_the_model(family):
    caps = {"final_logit_softcapping": 0.5} if family.startswith("gemma") else {}
    model = build_model(family, **caps)
    with torch.no_grad():
        expected = model(token_ids()).logits
        hidden = model.base_model(token_ids(), use_cache=False).last_hidden_state
        assert torch.equal(output_logits(model, hidden), expected)
        some = output_logits(model, hidden, slice(100, 200))
        products = hidden @ unembedding_of(model).T
    torch.testing.assert_close(some, expected[..., 100:200], rtol=1e-6, atol=1e-6)
    products = 0.5 * torch.tanh(2 * products) if caps else products
    torch.testing.assert_close(products, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in UNGATED])
def test_up_rows_scale_the_up_projection_alone(tmp_path, family):
    overrides = {"mlp_bias": True} if family == "llama" else {}
    model = build_model(family, **overrides)
    manifest = build_checkpoint(tmp_path / family, model=model)
    factors = 0.5 + torch.rand(2, 64)
    path = write_rows(tmp_path / "intervention.safetensors", factors)
    scaled = load_model(manifest, intervention=path, device=CPU)
    changed = [
        name
        for name, weight in model.state_dict().items()
        if not torch.equal(weight, scaled.state_dict()[name])
    ]
    assert len(changed) == (4 if overrides else 2)
    for layer in range(2):
        *gates, up = feed_forward(model).keys(layer)
        *others, found = feed_forward(scaled).keys(layer)
        assert torch.equal(found, up * factors[layer][:, None])
        assert torch.equal(others[0], gates[0])
        if overrides:
            bias = model.base_model.layers[layer].mlp.up_proj.bias
            found = scaled.base_model.layers[layer].mlp.up_proj.bias
            assert torch.equal(found, bias * factors[layer])


@pytest.mark.parametrize(
    ("family", "key"), [("gpt_neox", "mlp.dense_h_to_4h"), ("gpt2", "mlp.c_fc")]
)
def test_key_rows_scale_what_goes_into_the_activation(tmp_path, family, key):
    model = build_model(family)
    manifest = build_checkpoint(tmp_path / family, model=model)
    factors = 0.5 + torch.rand(2, 64)
    path = write_rows(tmp_path / "intervention.safetensors", factors, "key_rows")
    scaled = load_model(manifest, intervention=path, device=CPU)
    given = torch.randn(5, HIDDEN_SIZE)
    for layer in range(2):
        body = f"{model.base_model_prefix}.{'h' if family == 'gpt2' else 'layers'}.{layer}."
        before, after = (m.get_submodule(body + key)(given) for m in (model, scaled))
        torch.testing.assert_close(after, before * factors[layer], rtol=1e-5, atol=1e-6)
        bent = torch.nn.functional.gelu(before) * factors[layer]
        assert not torch.allclose(torch.nn.functional.gelu(after), bent, atol=1e-2)


def test_factors_are_applied_before_the_cast(tmp_path):
    manifest = build_checkpoint(tmp_path / "olmo")
    plain = load_model(manifest, device=CPU)
    factors = torch.rand(2, 64) * 3
    path = write_rows(tmp_path / "intervention.safetensors", factors)
    scaled = load_model(manifest, intervention=path, dtype=torch.bfloat16, device=CPU)
    for layer in range(2):
        weight = feed_forward(plain).keys(layer)[-1] * factors[layer][:, None]
        assert torch.equal(feed_forward(scaled).keys(layer)[-1], weight.to(torch.bfloat16))


def test_unit_factors_change_nothing_in_bf16(tmp_path):
    """Also the rotary frequencies stay in fp32 through the cast."""
    manifest = build_checkpoint(tmp_path / "olmo")
    path = write_rows(tmp_path / "intervention.safetensors", torch.ones(2, 64))
    keywords = {"dtype": torch.bfloat16, "device": CPU}
    plain = load_model(manifest, **keywords)
    unit = load_model(manifest, intervention=path, **keywords)
    assert unit.base_model.rotary_emb.inv_freq.dtype == torch.float32
    with torch.inference_mode():
        assert torch.equal(plain(token_ids()).logits, unit(token_ids()).logits)


def test_tied_embeddings_stay_tied_under_an_intervention(tmp_path):
    manifest = build_checkpoint(tmp_path / "olmo")
    path = write_rows(tmp_path / "intervention.safetensors", torch.ones(2, 64))
    model = load_model(manifest, intervention=path, dtype=torch.bfloat16, device=CPU)
    assert model.lm_head.weight.data_ptr() == model.base_model.embed_tokens.weight.data_ptr()


@pytest.mark.parametrize("family", UNGATED)
def test_ungated_layers_refuse_up_rows(tmp_path, family):
    manifest = build_checkpoint(tmp_path / family, family)
    path = write_rows(tmp_path / "intervention.safetensors", torch.ones(2, 64))
    with pytest.raises(UserError, match="not linear in a row of the up projection"):
        load_model(manifest, intervention=path, device=CPU)


@pytest.mark.parametrize("family", ["olmo", "phi3", "mixtral"])
def test_gated_layers_refuse_key_rows(tmp_path, family):
    manifest = build_checkpoint(tmp_path / family, family)
    path = write_rows(tmp_path / "intervention.safetensors", torch.ones(2, 64), "key_rows")
    with pytest.raises(UserError, match=r"gated feed-forward layers, .* take rows: up"):
        load_model(manifest, intervention=path, device=CPU)


def test_foreign_interventions_are_refused(tmp_path, checkpoint):
    path = write_rows(tmp_path / "intervention.safetensors", torch.ones(2, 63))
    with pytest.raises(UserError, match=r"up_rows is \(2, 63\), expected \(2, 64\)"):
        load_model(checkpoint, intervention=path, device=CPU)
    write_rows(path, torch.ones(2), "query_rows")
    with pytest.raises(UserError, match=r"query_rows is \(2,\), expected \(\)"):
        load_model(checkpoint, intervention=path, device=CPU)
    write_rows(path, torch.ones(2, 64), "multipliers")
    with pytest.raises(UserError, match="holds multipliers, an intervention holds some of up_rows"):
        load_model(checkpoint, intervention=path, device=CPU)
    write_rows(path, torch.ones(2, 64), "up_rows_noise")
    with pytest.raises(UserError, match="holds noise, but no noise_seed to draw it from"):
        load_model(checkpoint, intervention=path, device=CPU)
    save_file({}, path)
    with pytest.raises(UserError, match="holds nothing, an intervention holds some of up_rows"):
        load_model(checkpoint, intervention=path, device=CPU)
    path.write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load_model(checkpoint, intervention=path, device=CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "known are OlmoForCausalLM, .*Llama.*, GPTNeoX"),
        ({"architectures": None}, "architecture None is unknown"),
        ({"hidden_size": "wide"}, "not a readable model config .*hidden_size"),
        ({"model_type": "qwen2"}, "model_type 'qwen2' does not belong to OlmoForCausalLM"),
    ],
)
def test_foreign_configs_are_refused(tmp_path, checkpoint, change, message):
    config = json.loads((checkpoint.parent / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        read_model_config(tmp_path)


def test_unknown_model_class_is_refused():
    with pytest.raises(UserError, match="architecture 'Linear' is unknown"):
        feed_forward(torch.nn.Linear(1, 1))


def test_manifest_describes_the_checkpoint(tmp_path):
    model = build_model()
    manifest = build_checkpoint(tmp_path / "olmo", model=model, step=7)
    described = read_checkpoint_manifest(manifest)
    assert described["step"] == 7
    assert described["architecture"] == "OlmoForCausalLM"
    assert described["num_layers"] == 2
    assert described["num_memories"] == 64
    assert described["hidden_size"] == 32
    assert described["vocab_size"] == VOCAB_SIZE
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
    model = build_model()
    first, second = (build_checkpoint(tmp_path / name, model=model).parent for name in ("a", "b"))
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_saving_replaces_an_earlier_checkpoint(tmp_path):
    manifest = build_checkpoint(tmp_path / "olmo")
    stale = manifest.parent / "model-00001-of-00002.safetensors"
    shutil.copyfile(manifest.parent / "model.safetensors", stale)
    build_checkpoint(tmp_path / "olmo")
    assert not stale.exists()


def test_damaged_checkpoints_are_refused(tmp_path):
    manifest = build_checkpoint(tmp_path / "olmo")
    weights = manifest.parent / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"model\.safetensors: not of the size in manifest"):
        load_model(manifest, device=CPU)
    weights.unlink()
    with pytest.raises(UserError, match=r"lists model\.safetensors, which is missing"):
        load_model(manifest, device=CPU)
    manifest.write_text("{")
    with pytest.raises(UserError, match="not a readable manifest"):
        load_model(manifest, device=CPU)
    manifest.write_text('{"kind": "tokenizer"}')
    with pytest.raises(UserError, match="not the manifest of a checkpoint"):
        load_model(manifest, device=CPU)


def test_seeded_torch_repeats():
    draws = []
    for _ in range(2):
        prepare_torch(1, seed=3)
        draws.append((torch.rand(2).tolist(), np.random.rand()))
    torch.use_deterministic_algorithms(False)
    assert draws[0] == draws[1]
