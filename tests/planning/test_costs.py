"""Sizes and arithmetic from a config alone, against the models themselves."""

import copy
import json
from importlib import resources
from types import SimpleNamespace

import pytest
import torch
import transformers
import yaml
from tokenizers import Tokenizer
from torch.utils.flop_counter import FlopCounterMode

from ke_steps import pretrain_nursery
from ke_steps.models.parameter_groups import parameter_groups
from ke_steps.planning import model_sizes
from ke_steps.planning.costs import costs_by_rule, jobs
from ke_steps.planning.model_shapes import shape_of_config
from ke_steps.planning.model_sizes import KNOWN_CONFIGS, UNKNOWN, find_size
from ke_steps.planning.planned_jobs import SCORING, Work
from ke_steps.planning.workloads import TASK_SIZES, num_probe_scores
from ke_steps.scoring.evaluation import load_task_items
from ke_steps.study.reading import read_study
from ke_steps.texts import tokenizers
from tests.invented.gguf import write_gguf
from tests.invented.models import build_model, build_tokenizer
from tests.invented.project import ROOT

SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())

SIZES = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
GROUPED = {"num_key_value_heads": 2}
FAMILIES = {
    "olmo": {},
    "olmo2": GROUPED,
    "llama": GROUPED | {"tie_word_embeddings": True},
    "smollm3": GROUPED,
    "mistral": GROUPED | {"head_dim": 16},
    "qwen3": GROUPED | {"head_dim": 16},
    "gemma2": GROUPED | {"head_dim": 16},
    "phi3": GROUPED,
    "gpt_neox": {},
    "gpt2": {"n_inner": SIZES["intermediate_size"]},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "mixtral": GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
}


def build(family):
    config = transformers.AutoConfig.for_model(family, **(SIZES | FAMILIES[family]))
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_those_of_the_model(family, tmp_path):
    model = build(family)
    model.config.save_pretrained(tmp_path)
    shape = shape_of_config(json.loads((tmp_path / "config.json").read_text()))
    # biases and norms are vectors, all else is counted
    matrices = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    assert shape.num_parameters == matrices
    assert shape.num_layers == SIZES["num_hidden_layers"]


@pytest.mark.parametrize("family", ["olmo", "llama", "gpt_neox"])
def test_operations_are_those_that_torch_counts(family):
    config = transformers.AutoConfig.for_model(family, **(SIZES | FAMILIES[family]))
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    shape = shape_of_config(config.to_dict())
    tokens = torch.zeros((2, 32), dtype=torch.long)

    def counted(run):
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    # rotary tables are a product of frequencies and positions, which is not counted here
    rotary = 0.001
    body = counted(lambda: model.base_model(tokens))
    assert body == pytest.approx(shape.body_flops(64, 32), rel=rotary)
    forward = counted(lambda: model(tokens))
    assert forward - body == shape.head_flops(64)
    assert forward == pytest.approx(shape.forward_flops(64, 32), rel=rotary)

    def train():
        model(tokens, labels=tokens).loss.backward()

    training = counted(train)
    assert training == pytest.approx(shape.training_flops(64, 32), rel=rotary)


def test_a_mixture_computes_with_the_chosen_experts_only():
    chosen = {family: SIZES | FAMILIES[family] for family in ("olmoe", "mixtral")}
    for family, config in chosen.items():
        shape = shape_of_config(config | {"model_type": family})
        expert = 3 * 64 * 160
        assert shape.num_layer_parameters - shape.num_active_layer_parameters == 2 * expert
        assert shape.num_memories == 4 * 160


@pytest.mark.parametrize(
    ("repo", "published"),
    [
        ("allenai/OLMo-1B-hf", 1_176_764_416),
        ("allenai/OLMo-7B-hf", 6_888_095_744),
        ("EleutherAI/pythia-70m", 70_426_624),
        ("EleutherAI/pythia-160m", 162_322_944),
        ("EleutherAI/pythia-410m-deduped", 405_334_016),
        ("EleutherAI/pythia-1b", 1_011_781_632),
        ("EleutherAI/pythia-1.4b", 1_414_647_808),
        ("EleutherAI/pythia-2.8b", 2_775_208_960),
        ("EleutherAI/pythia-6.9b", 6_857_302_016),
        ("EleutherAI/pythia-12b-deduped", 11_846_072_320),
    ],
)
def test_known_models_have_the_published_size(repo, published):
    shape = shape_of_config(KNOWN_CONFIGS[repo])
    assert shape.num_parameters == pytest.approx(published, rel=1e-3)


PYTHIA_MASKS_BYTES = 6 * 2048**2
"""A mask of bytes in each of the six layers, beside fp16 parameters in ``pytorch_model.bin``."""


@pytest.mark.parametrize(
    ("repo", "masks_bytes", "published_bytes"),
    [
        ("EleutherAI/pythia-14m", PYTHIA_MASKS_BYTES, 53.3e6),
        ("EleutherAI/pythia-14m-seed9", PYTHIA_MASKS_BYTES, 53.3e6),
        ("EleutherAI/pythia-31m", PYTHIA_MASKS_BYTES, 86.2e6),
        ("allenai/OLMo-2-0425-1B", 0, 4.98e9 + 956e6),
        ("allenai/OLMo-2-1124-7B", 0, (4.95 + 4.99 + 4.92 + 4.86 + 4.86 + 4.61) * 1e9),
        ("HuggingFaceTB/SmolLM3-3B-checkpoints", 0, 4.97e9 + 1.18e9),
    ],
)
def test_known_models_fill_the_published_files(repo, masks_bytes, published_bytes):
    """File sizes as the repositories' pages have them, to three digits."""
    config = KNOWN_CONFIGS[repo]
    per_parameter = {"float16": 2, "bfloat16": 2, "float32": 4}[config["torch_dtype"]]
    found = shape_of_config(config).num_parameters * per_parameter + masks_bytes
    assert found == pytest.approx(published_bytes, rel=5e-3)


@pytest.fixture(scope="module")
def olmo_tokenizer():
    name = "tokenizers/allenai_eleuther-ai-gpt-neox-20b-pii-special.json"
    backend = Tokenizer.from_str(resources.files("olmo_eval").joinpath(name).read_text())
    return tokenizers.Tokenizer(backend, eos_token_id=0, pad_token_id=1)


@pytest.mark.parametrize("task", ["openbook_qa", "winogrande"])
def test_tasks_have_the_sizes_that_the_package_gives_them(task, olmo_tokenizer):
    items = load_task_items(
        task, olmo_tokenizer, world=None, max_length_tokens=2048, num_items=None
    )
    spans = [span for item in items for span in item.choices]
    num_tokens = sum(len(span.token_ids) for span in spans)
    num_contexts = sum(span.start for span in spans)
    counted = (len(items), len(spans), num_tokens, num_tokens - num_contexts)
    assert counted == TASK_SIZES[task]


def test_an_unknown_architecture_has_no_shape():
    assert shape_of_config({"model_type": "mamba", "hidden_size": 4}) is None


def study_of(source, results_dir, steps=(1, 2)):
    """The smoke study on another model, with results elsewhere."""
    config = copy.deepcopy(SMOKE) | {"results_dir": "results/none"}
    config["models"] = {"other": {"source": source, "steps": list(steps)}}
    config.pop("pretrain_nursery")
    config.pop("variants")
    config["recipes"] = {
        name: {key: value for key, value in recipe.items() if key not in ("steps", "variants")}
        for name, recipe in config["recipes"].items()
    }
    return read_study(config, need_files=False).model_copy(update={"results_dir": str(results_dir)})


def test_a_hub_model_is_looked_up_in_results_then_in_the_cache_then_among_the_known(
    tmp_path, monkeypatch
):
    cache, results = tmp_path / "cache", tmp_path / "results"
    monkeypatch.setattr(model_sizes, "HF_HUB_CACHE", str(cache))
    source = {"kind": "hub", "repo": "EleutherAI/pythia-70m", "revision": "step{step}"}
    study = study_of(source, results)
    config = KNOWN_CONFIGS["EleutherAI/pythia-70m"]

    def write(folder, num_layers):
        folder.mkdir(parents=True)
        content = config | {"num_hidden_layers": num_layers}
        (folder / "config.json").write_text(json.dumps(content))

    assert find_size(study, "other").place == "as known"
    write(cache / "models--EleutherAI--pythia-70m/snapshots/0123", 7)
    assert find_size(study, "other").shape.num_layers == 7
    write(results / "fetch_checkpoint/other/step1", 8)
    assert find_size(study, "other").shape.num_layers == 8
    assert find_size(study, "other").bytes_per_parameter == 2


def test_a_directory_is_asked_itself_and_what_is_nowhere_is_unknown(tmp_path):
    source = {"kind": "directory", "path": f"{tmp_path}/step{{step}}"}
    study = study_of(source, tmp_path / "results")
    assert find_size(study, "other") is None
    (tmp_path / "step2").mkdir()
    content = KNOWN_CONFIGS["allenai/OLMo-1B-hf"]
    (tmp_path / "step2/config.json").write_text(json.dumps(content))
    assert find_size(study, "other").shape.num_parameters == 1_176_764_416


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "phi3"])
def test_a_gguf_file_is_asked_itself(tmp_path, family):
    """Also where it leaves out what llama.cpp knows, such as the vocabulary's size."""
    model = build_model(family, tie_word_embeddings=True)
    path = write_gguf(tmp_path / "m.gguf", model, build_tokenizer(tmp_path / "tokenizer"))
    source = {"kind": "gguf", "path": str(path), "tied_head": family != "gemma2"}
    size = find_size(study_of(source, tmp_path / "results", steps=(1,)), "other")
    assert size.place == str(path)
    expected = shape_of_config(model.config.to_dict())
    assert (size.shape, size.bytes_per_parameter) == (expected, 4)


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_nursery_is_as_large_as_the_model_that_its_step_builds(is_tied):
    config = copy.deepcopy(SMOKE) | {"results_dir": "results/none"}
    config["pretrain_nursery"]["tie_word_embeddings"] = is_tied
    study = read_study(config)
    vocab_size = study.train_tokenizer.vocab_size_tokens
    words = SimpleNamespace(vocab_size=vocab_size, pad_token_id=1, eos_token_id=0)
    with torch.device("meta"):
        model = pretrain_nursery.build_model(study.pretrain_nursery, words, 128)
    shape = find_size(study, "tiny").shape
    assert shape.num_parameters == sum(each.numel() for each in model.parameters())


def costs_of(study, sizes):
    return costs_by_rule(jobs(study, sizes))


def test_the_smoke_study_in_numbers():
    study = read_study(SMOKE)
    size = find_size(study, "tiny")
    costs = costs_of(study, {"tiny": size})
    corpus, baseline, longer = 128, 8, 2  # tokens of a sequence; runs of the recipes
    assert costs["inject_knowledge"].num_jobs == baseline + longer
    tokens = corpus * 4 * (baseline * 5 + longer * 12)
    assert costs["inject_knowledge"].training_tokens == tokens
    assert costs["pretrain_nursery"].training_tokens == 8 * 8 * corpus
    work = costs["pretrain_nursery"].flops[Work("training", "fp32")]
    assert work == size.shape.training_flops(8 * 8 * corpus, corpus)
    assert costs["evaluate_retention"].num_jobs == 2 + 4  # originals, the variants at step 8
    assert costs["extract_coefficients"].num_jobs == 2 * 2 + 4  # both corpora on the originals


def test_a_dose_of_a_batch_that_is_split_takes_one_more_pass():
    study = copy.deepcopy(SMOKE)
    shape = find_size(read_study(study), "tiny").shape
    whole = study["recipes"]["baseline"] | {"micro_batch_size_sequences": 4}
    dosed = whole | {"contribution_entropy_weight": 0.1}
    found = []
    for recipe in (whole, dosed, dosed | {"micro_batch_size_sequences": 2}):
        study["recipes"] = {"baseline": recipe}
        cost = costs_of(read_study(study), {"tiny": find_size(read_study(study), "tiny")})
        found.append(cost["inject_knowledge"].flops[Work("training", "fp32")])
    tokens = cost["inject_knowledge"].training_tokens
    assert found[0] == found[1]
    assert found[2] - found[0] == pytest.approx(shape.body_flops(tokens, 128))


def test_rivals_take_a_pass_for_every_draw_scale_and_group():
    study = read_study(SMOKE)
    shape = find_size(study, "tiny").shape
    costs = costs_of(study, {"tiny": find_size(study, "tiny")})["measure_rivals"]
    text = (4 * 128, 128)  # tokens of its sequences, and of one
    num_passes = 1 + len(parameter_groups(build_model("olmo"))) * 2 * 2  # draws, signs
    moments = 2 * text[0] * shape.num_layers * shape.num_memories**2
    expected = shape.body_flops(*text) + moments + shape.training_flops(*text)
    expected += num_passes * shape.forward_flops(*text)
    assert costs.num_jobs == 2
    assert costs.flops == {SCORING: 2 * expected}


def test_shards_compute_what_one_job_does():
    study = copy.deepcopy(SMOKE)
    size = find_size(read_study(study), "tiny")
    whole = costs_of(read_study(study), {"tiny": size})["extract_coefficients"]
    study["extract_coefficients"]["num_shards"] = 2
    costs = costs_of(read_study(study), {"tiny": size})
    assert costs["extract_shard"].num_jobs == 2 * whole.num_jobs
    assert costs["extract_shard"].flops == whole.flops
    assert costs["merge_shards"].num_jobs == whole.num_jobs
    assert costs["merge_shards"].disk_bytes == whole.disk_bytes
    memories = size.shape.num_layers * size.shape.num_memories
    of_memory = 2 * 4 + 8 + 2 * 6 * 8  # layer, memory and norm; two groups of six terms in fp64
    assert costs["extract_shard"].disk_bytes == 2 * whole.num_jobs * memories * of_memory


def test_states_and_checkpoints_of_a_nursery_are_counted_on_the_disk():
    study = read_study(SMOKE)  # the untrained model and one trained
    size = find_size(study, "tiny")
    costs = costs_of(study, {"tiny": size})
    weights = 4 * size.shape.num_parameters
    assert costs["pretrain_nursery"].disk_bytes == (1 + 4) * weights
    assert costs["keep_checkpoint"].disk_bytes == 2 * weights


@pytest.mark.parametrize(("keep", "num_kept"), [("all", 10), ("last", 8), ("none", 0)])
def test_weights_that_stay_and_those_that_pass_are_told_apart(keep, num_kept):
    study = read_study(SMOKE | {"keep_models": keep})
    size = find_size(study, "tiny")
    weights = 4 * size.shape.num_parameters
    update_map = size.shape.num_layers * size.shape.num_memories * (2 * 4 + 4 * 8)
    learned = [job for job in jobs(study, {"tiny": size}) if job.rule == "inject_knowledge"]
    scores = sum(num_probe_scores(study, study.recipes[run.recipe]) for run in study.runs()) * 33
    assert sum(job.disk_bytes for job in learned) == 10 * update_map + scores + num_kept * weights
    # the model until it is evaluated, and two states of weights and two moments
    passing = [job.passing_bytes / weights for job in learned]
    assert sorted(passing) == [6] * num_kept + [7] * (10 - num_kept)


def test_a_model_of_unknown_size_has_jobs_and_tokens_but_no_arithmetic(tmp_path):
    study = study_of({"kind": "directory", "path": f"{tmp_path}/{{step}}"}, tmp_path)
    costs = costs_of(study, {"other": UNKNOWN})
    assert costs["fetch_checkpoint"].num_jobs == 2
    assert costs["inject_knowledge"].training_tokens > 0
    assert sum(sum(cost.flops.values()) for cost in costs.values()) == 0


def test_what_is_fetched_is_not_downloaded_again(tmp_path):
    source = {"kind": "hub", "repo": "EleutherAI/pythia-70m", "revision": "step{step}"}
    study = study_of(source, tmp_path)
    size = find_size(study, "other")
    weights = 2 * size.shape.num_parameters
    before = costs_of(study, {"other": size})["fetch_checkpoint"]
    assert (before.download_bytes, before.disk_bytes) == (2 * weights, 2 * weights)
    manifest = tmp_path / "fetch_checkpoint/other/step1/manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    after = costs_of(study, {"other": size})["fetch_checkpoint"]
    assert (after.download_bytes, after.disk_bytes) == (weights, 2 * weights)


def test_the_papers_passages_are_downloaded_once(tmp_path):
    preset = {"kind": "preset", "name": "fictional_knowledge"}
    study = read_study(SMOKE | {"knowledge": SMOKE["knowledge"] | {"source": preset}})
    study = study.model_copy(update={"results_dir": str(tmp_path)})
    assert costs_of(study, {"tiny": UNKNOWN})["prepare_knowledge"].download_bytes == 2_638_696
    local = study.knowledge.source.model_copy(update={"folder": "copy"})
    copied = study.knowledge.model_copy(update={"source": local})
    offline = study.model_copy(update={"knowledge": copied})
    assert costs_of(offline, {"tiny": UNKNOWN})["prepare_knowledge"].download_bytes == 0
    (tmp_path / "prepare_knowledge").mkdir()
    (tmp_path / "prepare_knowledge/passages.parquet").touch()
    assert costs_of(study, {"tiny": UNKNOWN})["prepare_knowledge"].download_bytes == 0


def test_corpora_from_outside_are_downloaded_for_each_model(tmp_path):
    source = {"kind": "hub", "repo": "EleutherAI/pythia-70m", "revision": "step{step}"}
    study = study_of(source, tmp_path)
    tokens = {"kind": "token_file", "location": "https://host/part.npy", "dtype": "uint16"}
    corpora = SMOKE["corpora"] | {
        "pretraining": SMOKE["corpora"]["pretraining"] | {"source": tokens, "skip_sequences": 6}
    }
    config = study.model_dump(mode="json", exclude_none=True) | {
        "corpora": corpora,
        "results_dir": "results/none",
    }
    costs = costs_of(read_study(config, need_files=False), {"other": UNKNOWN})
    assert costs["prepare_corpus"].num_jobs == 2
    assert costs["prepare_corpus"].download_bytes == (6 + 64) * 128 * 2
    assert costs["prepare_corpus"].disk_bytes == 2 * 64 * 128 * 4
