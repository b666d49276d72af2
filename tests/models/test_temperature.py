"""The temperature of attention: softmax(z / T) in every family, computed anew by hand."""

import json

import pytest
import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ke_steps.artefacts.interventions import write_intervention
from ke_steps.artefacts.manifests import describe_files
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model
from ke_steps.models.temperature import set_temperature, temperature_of
from tests.invented.models import FAMILIES, build_checkpoint, build_model, random_sequences

CPU = torch.device("cpu")
INPUT_IDS = torch.from_numpy(random_sequences(3, 16)).long()
WINDOW = {"sliding_window": 5}
CASES = [(family, {}) for family in FAMILIES] + [
    *((family, WINDOW) for family in ("olmo3", "mistral", "gemma2", "gemma3_text", "phi3")),
    ("olmo", {"clip_qkv": 0.4}),
    ("gemma2", {"attn_logit_softcapping": 2.0}),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    ("gpt2", {"scale_attn_weights": False}),
    ("gpt2", {"reorder_and_upcast_attn": True}),
]


def logits(model):
    with torch.inference_mode():
        return model(INPUT_IDS, use_cache=False).logits


def attention_by_hand(temperature):
    """Return an attention function whose softmax is given the scores / ``temperature``."""

    def attend(module, query, key, value, mask, *, scaling, softcap=None, **others):
        group = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(group, dim=1) for x in (key, value))
        scores = torch.einsum("bhqd,bhkd->bhqk", query, key) * scaling
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        scores = scores / temperature + mask
        rows = torch.exp(scores - scores.max(dim=-1, keepdim=True).values)
        rows = rows / rows.sum(dim=-1, keepdim=True)
        return torch.einsum("bhqk,bhkd->bqhd", rows, value), None

    return attend


@pytest.fixture(params=[0.5, 3.0])
def temperature(request):
    ALL_ATTENTION_FUNCTIONS.register("by_hand", attention_by_hand(request.param))
    ALL_MASK_ATTENTION_FUNCTIONS.register("by_hand", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    yield request.param
    for functions in (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS):
        del type(functions)._global_mapping["by_hand"]


@pytest.mark.parametrize(("family", "overrides"), CASES, ids=str)
def test_logits_are_those_of_scores_divided_by_hand(family, overrides, temperature):
    model = build_model(family, **overrides).double()
    model.set_experts_implementation("eager")  # the usual one knows no fp64
    plain, usual = logits(model), model.config._attn_implementation
    model.config._attn_implementation = "by_hand"
    expected = logits(model)
    model.config._attn_implementation = usual
    set_temperature(model, temperature)
    tempered = logits(model)
    torch.testing.assert_close(tempered, expected, rtol=1e-5, atol=1e-6)
    assert (tempered - plain).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_temperature_counts_and_1_is_the_plain_model(family):
    model = build_model(family)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    plain, config = logits(model), model.config.to_dict()
    set_temperature(model, 2.0)
    twice = logits(model)
    set_temperature(model, 1.7)
    assert temperature_of(model) == 1.7
    set_temperature(model, 2.0)
    assert torch.equal(logits(model), twice)
    assert not torch.equal(twice, plain)
    set_temperature(model, 1.0)
    assert torch.equal(logits(model), plain)
    assert model.config.to_dict() == config
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.items())


@pytest.mark.parametrize("family", ["olmo", "gemma2"])
def test_a_saved_model_has_its_temperature_when_it_is_loaded(tmp_path, family):
    model = build_model(family)
    set_temperature(model, 1.6)
    manifest = build_checkpoint(tmp_path / "hot", model=model)
    assert json.loads((tmp_path / "hot/config.json").read_text())["attention_temperature"] == 1.6
    loaded = load_model(manifest, device=CPU)
    assert temperature_of(loaded) == 1.6
    assert torch.equal(logits(loaded), logits(model))
    write_intervention(tmp_path / "other", {"attention_temperature": [3.0, 1.0]})
    other = load_model(manifest, intervention=tmp_path / "other", device=CPU)
    set_temperature(model, 3.0)
    assert torch.equal(logits(other), logits(model))


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), "hot"])
def test_a_config_with_no_temperature_is_refused(tmp_path, value):
    manifest = build_checkpoint(tmp_path / "model")
    path = manifest.parent / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"attention_temperature": value}))
    described = json.loads(manifest.read_text())
    files = describe_files(path.parent / name for name in described["files"])
    manifest.write_text(json.dumps(described | {"files": files}))
    with pytest.raises(UserError, match=r"config\.json: attention_temperature is"):
        load_model(manifest, device=CPU)


def test_an_intervention_of_another_shape_is_refused(tmp_path):
    manifest = build_checkpoint(tmp_path / "model")
    write_intervention(tmp_path / "one", {"attention_temperature": 2.0})
    with pytest.raises(UserError, match=r"attention_temperature is \(\), expected \(2,\)"):
        load_model(manifest, intervention=tmp_path / "one", device=CPU)
