"""What jobs need of memory: what a pass keeps against torch, the rest against byte counts."""

import copy

import pytest
import torch
import transformers
import yaml

from ke_steps.models.loading import attention_implementation
from ke_steps.planning.memory import (
    Learning,
    kept_by_attribution,
    kept_by_training,
    learning_memory,
    needs,
)
from ke_steps.planning.model_shapes import shape_of_config
from ke_steps.planning.model_sizes import KNOWN_CONFIGS, UNKNOWN, ModelSize
from ke_steps.settings.cluster import Jobs
from ke_steps.study.reading import read_study
from ke_steps.study.requests import DEFAULTS
from tests.invented.project import ROOT

SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 224,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
FAMILIES = {
    "olmo": {},
    "llama": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16},
    "gpt_neox": {},
    "mixtral": {"num_key_value_heads": 2, "num_local_experts": 4},
}
OLMO_7B = shape_of_config(KNOWN_CONFIGS["allenai/OLMo-7B-hf"])
OLMO_1B = shape_of_config(KNOWN_CONFIGS["allenai/OLMo-1B-hf"])
MIXTURES = {"mixtral"}


def kept(family, precision, *, with_parameters):
    """Return the bytes that torch keeps of a token and a layer for the way back."""
    by_size = [
        _kept(family, precision, with_parameters, num_layers, length)
        for num_layers in (1, 2)
        for length in (32, 64)
    ]
    short, long, short_deep, long_deep = by_size
    return ((long_deep - short_deep) - (long - short)) / 32


def _kept(family, precision, with_parameters, num_layers, length):
    settings = SIZES | FAMILIES[family] | {"num_hidden_layers": num_layers}
    config = transformers.AutoConfig.for_model(family, **settings)
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation=attention_implementation(config)
    )
    if not with_parameters:
        model.requires_grad_(False)
        model.enable_input_require_grads()
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage  # held, lest another takes its place
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        hidden = model.base_model(torch.zeros((1, length), dtype=torch.long), use_cache=False)
    assert hidden.last_hidden_state.requires_grad
    for parameter in model.parameters():
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in storages.values())


def shape_of(family):
    settings = SIZES | FAMILIES[family] | {"num_hidden_layers": 2}
    return shape_of_config(transformers.AutoConfig.for_model(family, **settings).to_dict())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_keeps_what_torch_keeps(family, precision):
    torch.manual_seed(0)
    found = kept_by_training(shape_of(family), precision)
    expected = kept(family, precision, with_parameters=True)
    highest = 1.5 if family == "gpt_neox" else 2.2 if family in MIXTURES else 1.2
    assert 0.8 * expected < found < highest * expected


@pytest.mark.parametrize("family", ["olmo", "llama", "qwen3", "gpt_neox"])
def test_attribution_keeps_what_torch_keeps_and_the_coefficients(family):
    shape = shape_of(family)
    expected = kept(family, "fp32", with_parameters=False) + 4 * shape.num_memories
    assert kept_by_attribution(shape, "fp32") == pytest.approx(expected, rel=0.2)


def test_seven_billion_parameters_on_one_gpu():
    """110 GB of state, 13.4 of copies for autocast, 6.4 of activations, 0.8 of logits."""
    found = learning_memory(OLMO_7B, Learning("bf16", 1024, 0, num_gpus=1, is_sharded=False))
    assert found.gpu / 1e9 == pytest.approx(110.2 + 13.4 + 6.4 + 0.8 + 1.5, rel=0.02)
    # a copy of weights and moments while they are written, and Python with torch
    assert found.host / 1e9 == pytest.approx(3 * 27.55 + 4, rel=0.01)


def test_several_gpus_share_a_model_in_parts_and_copy_a_whole_one():
    def learning(num_gpus, *, is_sharded):
        return learning_memory(OLMO_7B, Learning("bf16", 1024, 10**9, num_gpus, is_sharded))

    alone, whole = learning(1, is_sharded=False), learning(4, is_sharded=False)
    parts = {number: learning(number, is_sharded=True) for number in (2, 4, 8)}
    assert whole.gpu - alone.gpu == pytest.approx(4 * OLMO_7B.num_parameters)  # buckets
    assert parts[2].gpu - parts[4].gpu == pytest.approx(16 * OLMO_7B.num_parameters / 4)
    assert parts[4].gpu - parts[8].gpu == pytest.approx(16 * OLMO_7B.num_parameters / 8)
    assert parts[4].gpu + 4 * OLMO_7B.num_parameters < 80e9  # with the sum of a whole gradient
    # weights and two moments, once; and for each process itself and the texts, twice
    assert parts[8].host == 12 * OLMO_7B.num_parameters + 8 * (4e9 + 8e9)
    assert whole.host == 4 * (4 * OLMO_7B.num_parameters + 4e9 + 8e9)


def read(name, **changes):
    study = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    return read_study(copy.deepcopy(study) | changes, need_files=False)


def sizes_of(shape, study):
    return {model: ModelSize(shape, 4, "here") for model in study.models}


def test_attribution_in_fp32_is_the_most_of_a_billion_parameters():
    study = read("olmo_1b")
    found = needs(study, sizes_of(OLMO_1B, study))
    assert found["extract_coefficients"].gpu / 1e9 == pytest.approx(50 + 4.7, rel=0.1)
    assert found["inject_knowledge"].gpu < 80e9


def test_every_model_rule_of_a_study_has_needs():
    study = read("smoke")
    rules = {rule for rule, asked in DEFAULTS.items() if asked.num_gpus}
    found = needs(study, dict.fromkeys(study.models, UNKNOWN))
    assert found.keys() <= rules <= Jobs.model_fields.keys()
    assert rules - found.keys() <= {"branch_checkpoint", "extract_shard", "measure_rivals"}
    of_a_large_one = needs(study, sizes_of(OLMO_7B, study))
    for rule, memory in of_a_large_one.items():
        assert memory.gpu > found[rule].gpu > 0, rule
        assert memory.host > 27e9, rule


def test_an_evaluation_in_bf16_holds_the_weights_in_both_precisions():
    found = []
    for precision in ("fp32", "tf32", "bf16"):
        study = read("olmo_1b")
        retention = study.evaluate_retention.model_copy(update={"precision": precision})
        study = study.model_copy(update={"evaluate_retention": retention})
        found.append(needs(study, sizes_of(OLMO_1B, study))["evaluate_retention"])
    fp32, tf32, bf16 = found
    assert tf32 == fp32
    assert (bf16.gpu - fp32.gpu, bf16.host) == (2 * OLMO_1B.num_parameters, fp32.host)


def test_a_study_in_shards_has_needs_of_shards():
    extract = {"num_groups": 4, "num_shards": 2, "num_sequences": 8}
    study = read("smoke", extract_coefficients=extract | {"batch_size_sequences": 2})
    assert {"extract_shard"} == {
        rule for rule in needs(study, sizes_of(OLMO_1B, study)) if rule.startswith("extract")
    }
