"""Every family from every source: what the model computes is what it computed before."""

from copy import deepcopy
from itertools import product
from typing import NamedTuple

import pytest
import torch
import yaml
from safetensors.torch import save_file
from transformers import AutoConfig

from ke_steps.checkpoints import gguf_config
from ke_steps.models.feed_forward import feed_forward
from ke_steps.models.loading import load_model
from tests.invented.fetching import fetch
from tests.invented.gguf import ARCHITECTURES, write_gguf
from tests.invented.models import (
    EOS_ID,
    FAMILIES,
    NUM_LAYERS,
    build_model,
    build_tokenizer,
    random_sequences,
)
from tests.invented.pickles import read_in_this_process, save_pickled, state_of

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SWITCHES = ("attention_bias", "mlp_bias", "use_bias")
"""What the configs of transformers call the biases that a model may have or not."""

OUTPUTS = ("mlp.down_proj", "mlp.dense_4h_to_h", "mlp.c_proj")
"""The output projections: the input of one is the coefficients."""

MIXTURES = {"olmoe", "mixtral"}
"""Their experts' projections are rows of one tensor, which has no hook: the logits must do."""

NATIVE = {
    "att_proj": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "attn_out": ["self_attn.o_proj"],
    "ff_proj": ["mlp.up_proj", "mlp.gate_proj"],
    "ff_out": ["mlp.down_proj"],
}
"""What OLMo's own format stacks, under which name."""


class Variant(NamedTuple):
    """A model that a family may be."""

    family: str
    is_tied: bool
    biases: tuple[tuple[str, bool], ...]
    """Switches and whether they are on."""

    def __str__(self):
        on = [name for name, is_on in self.biases if is_on]
        return "-".join([self.family, "tied" if self.is_tied else "own_head", *on])


class Original(NamedTuple):
    """A model, and what it computes in float64."""

    model: torch.nn.Module
    ids: torch.Tensor
    logits: torch.Tensor
    coefficients: list[torch.Tensor]
    """By layer, (B, T, m); none of a mixture."""


def write_directory(directory, model, **keywords):
    model.save_pretrained(directory, **keywords)
    build_tokenizer(directory)
    return {"kind": "directory", "path": str(directory)}


def write_shards(directory, model):
    source = write_directory(directory, model, max_shard_size="50KB")
    assert len(list(directory.glob("*.safetensors"))) > 1
    return source


def write_pickled(directory, model):
    save_pickled(state_of(model, directory), directory)
    return {"kind": "directory", "path": str(directory)}


def write_as_gguf(directory, model):
    tokenizer = build_tokenizer(directory)
    path = write_gguf(directory / "model.gguf", model, tokenizer)
    is_said = model.config.tie_word_embeddings and "gemma" not in model.config.model_type
    return {"kind": "gguf", "path": str(path), "tied_head": is_said}


def write_native(directory, model):
    config, state = model.config, model.state_dict()
    tensors = {"transformer.wte.weight": state["model.embed_tokens.weight"]}
    if not config.tie_word_embeddings:
        tensors["transformer.ff_out.weight"] = state["lm_head.weight"]
    for layer, (ours, theirs) in product(range(NUM_LAYERS), NATIVE.items()):
        parts = [state[f"model.layers.{layer}.{name}.weight"] for name in theirs]
        tensors[f"transformer.blocks.{layer}.{ours}.weight"] = torch.cat(parts)
    sizes = {
        "d_model": config.hidden_size,
        "n_heads": config.num_attention_heads,
        "n_layers": config.num_hidden_layers,
        "mlp_hidden_size": 2 * config.intermediate_size,
        "vocab_size": config.vocab_size,
        "max_sequence_length": config.max_position_embeddings,
        "weight_tying": config.tie_word_embeddings,
        "eos_token_id": EOS_ID,
    }
    build_tokenizer(directory)
    save_file(tensors, directory / "model.safetensors")
    (directory / "config.yaml").write_text(yaml.safe_dump({"model": sizes}))
    return {"kind": "directory", "path": str(directory)}


def variants_of(family):
    """Return the models that a family's config allows, tied or not, each bias on or off."""
    config = AutoConfig.for_model(family)
    switches = [name for name in SWITCHES if hasattr(config, name)]
    return [
        Variant(family, is_tied, tuple(zip(switches, are_on, strict=True)))
        for is_tied in (False, True)
        for are_on in product([False, True], repeat=len(switches))
    ]


def sources_of(variant):
    """Return how a model may come.

    Not what the format cannot hold: in GGUF a Gemma 2's own head, in OLMo's own any bias.
    """
    sources = [write_directory, write_shards, write_pickled]
    is_known = ARCHITECTURES.get(variant.family, variant.family) in gguf_config.ARCHITECTURES
    if is_known and (variant.is_tied or variant.family != "gemma2"):
        sources.append(write_as_gguf)
    if variant.family == "olmo" and not any(is_on for _, is_on in variant.biases):
        sources.append(write_native)
    return sources


COMBINATIONS = [
    pytest.param(variant, write, id=f"{variant}-{write.__name__.split('_')[-1]}")
    for family in FAMILIES
    for variant in variants_of(family)
    for write in sources_of(variant)
]


@pytest.fixture(scope="module")
def original(request):
    """Return a random model, and what plain transformers computes with it."""
    variant = request.param
    overrides = {"tie_word_embeddings": variant.is_tied} | dict(variant.biases)
    model = build_model(variant.family, **overrides)
    with torch.no_grad():
        for parameter in model.parameters():  # unlike fresh norms, which are all alike
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.rand_like(parameter))
    return compute_apart(model)


def compute_apart(model):
    double = deepcopy(model).double()
    double.set_attn_implementation("eager")
    is_mixture = model.config.model_type in MIXTURES
    if is_mixture:
        double.set_experts_implementation("eager")
    coefficients = []
    outputs = [module for name, module in double.named_modules() if name.endswith(OUTPUTS)]
    assert len(outputs) == (0 if is_mixture else NUM_LAYERS)
    for module in outputs:
        module.register_forward_pre_hook(lambda _, given: coefficients.append(given[0]))
    ids = torch.tensor(random_sequences(2, 24))
    with torch.no_grad():
        return Original(model, ids, double(ids).logits, coefficients)


def compare(values, expected):
    assert values.dtype == torch.float32
    error = (values - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


@pytest.mark.parametrize(("original", "write"), COMBINATIONS, indirect=["original"])
def test_a_model_is_the_same_from_every_source(tmp_path, monkeypatch, original, write):
    read_in_this_process(monkeypatch)
    source = write(tmp_path / "source", original.model)
    model = load_model(fetch(source, tmp_path / "out/manifest.json", step=3), device=CPU)
    observed = []
    with torch.no_grad(), feed_forward(model).observing(observed.append):
        compare(model(original.ids).logits, original.logits)
    if model.config.model_type in MIXTURES:
        return
    assert [each.layer for each in observed] == list(range(NUM_LAYERS))
    for each, expected in zip(observed, original.coefficients, strict=True):
        compare(each.values, expected)
