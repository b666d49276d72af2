"""Attention at another temperature: what is written, and softmax(scores / temperature)."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ke_steps import intervene
from ke_steps.artefacts.interventions import write_intervention
from ke_steps.artefacts.manifests import describe_files
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model
from ke_steps.settings.interventions import Intervene
from tests.invented.models import (
    FAMILIES,
    HIDDEN_SIZE,
    NUM_LAYERS,
    build_checkpoint,
    random_sequences,
)

ALLOWED = ["olmo", "llama", "smollm3", "mistral", "qwen2", "phi3", "gpt_neox", "gpt2", "mixtral"]
REFUSED = ["olmo2", "olmo3", "qwen3", "gemma2", "gemma3_text", "olmoe"]
CPU = torch.device("cpu")


def change(manifest, output, kind, **settings):
    """Run the step, which reads no coefficients for these kinds; return its output."""
    intervene.run(
        checkpoint=manifest,
        coefficients=None,
        output=output,
        settings=Intervene.model_validate({"intervention": {"kind": kind, **settings}}),
    )
    return output


def rescale(manifest, output, temperature):
    return change(manifest, output, "rescale_queries", temperature=temperature)


def first_attention(manifest, intervention=None):
    """Return the attention probabilities (B, heads, T, T) of the first layer, and the model."""
    model = load_model(manifest, intervention=intervention, device=CPU)
    model.set_attn_implementation("eager")
    input_ids = torch.from_numpy(random_sequences(3, 16)).long()
    with torch.inference_mode():
        return model(input_ids, output_attentions=True).attentions[0], model


def test_every_family_is_allowed_or_refused():
    assert set(ALLOWED) | set(REFUSED) == set(FAMILIES)


@pytest.mark.parametrize("family", ALLOWED)
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_attention_is_softmax_of_scores_over_temperature(tmp_path, family, temperature):
    manifest = build_checkpoint(tmp_path / family, family)
    path = rescale(manifest, tmp_path / "intervention.safetensors", temperature)
    before, _ = first_attention(manifest)
    after, _ = first_attention(manifest, path)
    # log p is the scores up to a constant of each row, and -inf where the mask is
    expected = torch.softmax(before.log() / temperature, dim=-1)
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-6)
    assert (after - before).abs().max() > 0.01


@pytest.mark.parametrize("family", ALLOWED)
def test_before_learning_it_is_the_temperature_of_the_forward_pass(tmp_path, family):
    manifest = build_checkpoint(tmp_path / family, family)
    rescaled = rescale(manifest, tmp_path / "rescaled.safetensors", 3.0)
    tempered = tmp_path / "tempered.safetensors"
    change(manifest, tempered, "temper_attention", temperature=3.0)
    input_ids = torch.from_numpy(random_sequences(3, 16)).long()
    with torch.inference_mode():
        plain, ours, theirs = (
            load_model(manifest, intervention=path, device=CPU)(input_ids).logits
            for path in (None, rescaled, tempered)
        )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert (ours - plain).abs().max() > 1e-3


@pytest.mark.parametrize("family", ALLOWED)
def test_nothing_but_queries_changes(tmp_path, family):
    overrides = {"attention_bias": True} if family in {"olmo", "llama"} else {}
    manifest = build_checkpoint(tmp_path / family, family, **overrides)
    path = rescale(manifest, tmp_path / "intervention.safetensors", 2.0)
    _, plain = first_attention(manifest)
    _, rescaled = first_attention(manifest, path)
    num_changed = sum(
        int((a != b).sum()) for a, b in zip(plain.parameters(), rescaled.parameters(), strict=True)
    )
    has_bias = family in {"olmo", "llama", "qwen2", "gpt_neox", "gpt2"}
    width = HIDDEN_SIZE
    assert num_changed == NUM_LAYERS * width * (width + has_bias)


def test_writes_one_scalar(tmp_path, checkpoint):
    written = [rescale(checkpoint, tmp_path / f"{name}.safetensors", 1.6) for name in ("a", "b")]
    tensors = load_file(written[0])
    assert list(tensors) == ["query_rows"]
    assert tensors["query_rows"].shape == ()
    assert tensors["query_rows"] == np.float32(1 / 1.6)
    assert written[0].read_bytes() == written[1].read_bytes()


@pytest.mark.parametrize(
    ("family", "overrides", "reason"),
    [
        ("olmo2", {}, "normalises its queries"),
        ("olmo3", {}, "normalises its queries"),
        ("qwen3", {}, "normalises its queries"),
        ("gemma3_text", {}, "normalises its queries"),
        ("olmoe", {}, "normalises its queries"),
        ("olmo", {"clip_qkv": 8.0}, "clips its queries at clip_qkv 8.0"),
        ("gemma2", {}, "caps its attention scores at attn_logit_softcapping 50.0"),
    ],
)
def test_other_attention_is_refused(tmp_path, family, overrides, reason):
    manifest = build_checkpoint(tmp_path / family, family, **overrides)
    output = tmp_path / "intervention.safetensors"
    with pytest.raises(UserError, match=reason):
        rescale(manifest, output, 2.0)
    assert not output.exists()
    write_intervention(output, {"query_rows": 0.5})
    with pytest.raises(UserError, match=reason):
        load_model(manifest, intervention=output, device=CPU)


def test_a_cap_that_config_leaves_out_is_known(tmp_path):
    manifest = build_checkpoint(tmp_path / "gemma2", "gemma2", attn_logit_softcapping=None)
    rescale(manifest, tmp_path / "intervention.safetensors", 2.0)
    path = manifest.parent / "config.json"
    config = json.loads(path.read_text())
    del config["attn_logit_softcapping"]
    path.write_text(json.dumps(config))
    described = json.loads(manifest.read_text())
    files = describe_files(path.parent / name for name in described["files"])
    manifest.write_text(json.dumps(described | {"files": files}))
    with pytest.raises(UserError, match=r"attn_logit_softcapping 50\.0"):
        rescale(manifest, tmp_path / "other.safetensors", 2.0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, [1.6, 1.0]), ({"course": "decaying"}, [1.6, 1.0]), ({"course": "constant"}, [1.6, 1.6])],
    ids=str,
)
def test_writes_the_temperatures_at_the_start_and_the_end(tmp_path, checkpoint, settings, expected):
    written = [
        change(checkpoint, tmp_path / name, "temper_attention", temperature=1.6, **settings)
        for name in "ab"
    ]
    tensors = load_file(written[0])
    assert list(tensors) == ["attention_temperature"]
    assert tensors["attention_temperature"].dtype == np.float64
    assert tensors["attention_temperature"].tolist() == expected
    assert written[0].read_bytes() == written[1].read_bytes()
