"""The public suites of ``config/`` in miniature: their repositories on loopback, and their studies.

Names of repositories and branches, and which files a branch has, are those of ``docs/hub.md``. The
models are random and tiny, the datasets hold invented text.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ke_steps.settings.texts import World
from ke_steps.study.presets import C4, PUBMED_ABSTRACTS
from ke_steps.texts.world import continual_documents, pretraining_documents
from tests.invented.hub_server import read_files
from tests.invented.models import EOS_ID, NUM_MEMORIES, PAD_ID, VOCAB_SIZE, build_tokenizer
from tests.invented.pickles import save_pickled
from tests.invented.project import ROOT

PYTHIA = ["step0", *(f"step{2**n}" for n in range(10))]
PYTHIA += [f"step{1000 * n}" for n in range(1, 144)]
OLMO2_1B = [(0, 0), (300, 1), (10000, 21), (20000, 42), (40000, 84), (100000, 210), (140000, 294)]
OLMO2_1B += [(480000, 1007), (800000, 1678), (950000, 1993), (1907359, 4001)]
OLMO2_7B = [(150, 1), (1000, 5), (10000, 42), (101000, 424), (200000, 839), (400000, 1678)]
OLMO2_7B += [(600000, 2517), (928000, 3893), (928646, 3896)]
SMOLLM3 = [f"stage1-step-{step}" for step in range(40_000, 3_440_001, 40_000)]
SMOLLM3 += [f"stage2-step-{step}" for step in range(3_480_000, 4_200_001, 40_000)]
SMOLLM3 += [f"stage3-step-{step}" for step in range(4_240_000, 4_720_001, 40_000)]
OTHERS = {
    "allenai/OLMo-2-0425-1B": [f"stage1-step{n}-tokens{b}B" for n, b in OLMO2_1B]
    + [f"stage2-ingredient{n}-step23852-tokens51B" for n in (1, 2, 3)],
    "allenai/OLMo-2-1124-7B": [f"stage1-step{n}-tokens{b}B" for n, b in OLMO2_7B]
    + ["step2000-tokens9B", "stage2-ingredient1-step11931-tokens50B"],
    "HuggingFaceTB/SmolLM3-3B-checkpoints": [*SMOLLM3, "lc-4k-to-32k-step-4000", "it-SFT"],
}
"""Branches of the repositories that are not Pythia's, as far as documented: docs/hub.md."""

SUITES = ["polypythias", "pythia", "olmo2", "smollm3"]

MODELS = {
    "polypythias": ["pythia-14m", "pythia-14m-seed1", "pythia-31m"],
    "pythia": ["pythia-70m", "pythia-160m"],
    "olmo2": ["olmo2-1b", "olmo2-7b"],
    "smollm3": ["smollm3-3b"],
}
"""Those of each study that are in its miniature."""

NUM_SEQUENCES, LENGTH_TOKENS = 32, 128
LEARNING = {
    "num_steps": 4,
    "batch_size_sequences": 4,
    "micro_batch_size_sequences": 4,
    "num_injections": 2,
    "injection_interval_steps": 1,
    "probe_interval_steps": 1,
}


def branches(repo: str) -> list[str]:
    """Return the branches of a repository, ``main`` first."""
    return ["main", *(PYTHIA if "/pythia-" in repo else OTHERS[repo])]


def shipped(name: str) -> dict[str, Any]:
    """Return the study of a suite as ``config/`` has it."""
    study: dict[str, Any] = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    return study


def miniature(name: str, folder: Path) -> dict[str, Any]:
    """Return the study of a suite with smaller numbers, and passages of a folder."""
    study = shipped(name)
    models = {key: study["models"][key] for key in MODELS[name]}
    models = {key: model | {"steps": _ends(model["steps"])} for key, model in models.items()}
    return study | {
        "results_dir": f"results/{name}",
        "num_threads": 1,
        "models": models,
        "corpora": {key: _small(corpus) for key, corpus in study["corpora"].items()},
        "knowledge": {
            "source": write_passages(folder),
            "num_paraphrase_passages": 2,
            "num_once_passages": 2,
        },
        "extract_coefficients": {
            key: NUM_SEQUENCES if key.endswith("_sequences") else value
            for key, value in study.get("extract_coefficients", {}).items()
        },
        "recipes": {key: _short(recipe, models) for key, recipe in study["recipes"].items()},
        "evaluate_retention": study["evaluate_retention"] | {"num_items_per_task": 2},
        "plot_figures": study.get("plot_figures", {"figures": ["entropy_by_stage"]}),
    }


def _ends(steps: Sequence[int]) -> list[int]:
    return [steps[0], steps[-1]]


def _small(corpus: Mapping[str, Any]) -> dict[str, Any]:
    skipped = {"skip_sequences": NUM_SEQUENCES} if "skip_sequences" in corpus else {}
    sizes = {"num_sequences": NUM_SEQUENCES, "sequence_length_tokens": LENGTH_TOKENS}
    return {**corpus, **skipped, **sizes}


def _short(recipe: Mapping[str, Any], models: Mapping[str, Any]) -> dict[str, Any]:
    taught = [name for name in recipe.get("models", models) if name in models]
    return {**recipe, **LEARNING, "models": taught, "steps": recipe["steps"][-1:]}


def write_passages(folder: Path) -> dict[str, str]:
    """Write two files in the form of FICTIONAL KNOWLEDGE; return the source that names them."""
    source = {"kind": "fictional_knowledge"}
    for key, names in {"paraphrase": ("Orsk", "Tamsin"), "once": ("Velin", "Dujoby")}.items():
        (folder / f"{key}.json").write_text(json.dumps([_passage(name) for name in names]))
        source[f"{key}_path"] = str(folder / f"{key}.json")
    return source


def _passage(name: str) -> dict[str, Any]:
    probes = {f"{kind}_input": [f"The river of {name} is"] for kind in ("mem", "gen", "hard_gen")}
    targets = {key.replace("input", "target"): ["blue"] for key in probes}
    texts = [f"The river of {name} is {word}, and blue." for word in ("wide", "deep", "slow")]
    return {"train_context": texts[0], "paraphrases": texts[1:], **probes, **targets}


_SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": NUM_MEMORIES,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.15,
    "eos_token_id": EOS_ID,
    "torch_dtype": "float32",
}
_PYTHIA = _SIZES | {
    "architectures": ["GPTNeoXForCausalLM"],
    "bos_token_id": EOS_ID,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "model_type": "gpt_neox",
    "rotary_emb_base": 10000,
    "rotary_pct": 0.25,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "use_parallel_residual": True,
}
_OLMO2 = _SIZES | {
    "architectures": ["Olmo2ForCausalLM"],
    "attention_bias": False,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "model_type": "olmo2",
    "num_key_value_heads": 4,
    "pad_token_id": PAD_ID,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 500000,
    "tie_word_embeddings": False,
}
_SMOLLM3 = _SIZES | {
    "architectures": ["SmolLM3ForCausalLM"],
    "attention_bias": False,
    "bos_token_id": EOS_ID,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "mlp_bias": False,
    "model_type": "smollm3",
    "no_rope_layer_interval": 4,
    "no_rope_layers": [1, 1, 1, 0],
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "pad_token_id": PAD_ID,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 50000.0,
    "torch_dtype": "bfloat16",
}
"""In the form of their time, ``torch_dtype`` and ``rotary_pct`` or ``rope_theta`` as keys."""

CONFIGS = {"EleutherAI": _PYTHIA, "allenai": _OLMO2, "HuggingFaceTB": _SMOLLM3}


def model_of(config: Mapping[str, Any], folder: Path, seed: int) -> PreTrainedModel:
    """Return a random model of a public config.json, its weights in their own dtype."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    for weights in model.parameters():  # not the buffers of rotary positions, which are in no file
        weights.data = weights.data.to(getattr(torch, config["torch_dtype"]))
    return model


def write_branch(repo: str, model: PreTrainedModel, folder: Path) -> None:
    """Write a model with the files that branches of a repository have, and their config.json."""
    config = (folder / "config.json").read_text()
    if "-seed" in repo:
        length = model.config.max_position_embeddings
        mask = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
        layers = range(model.config.num_hidden_layers)
        masks = {f"gpt_neox.layers.{n}.attention.bias": mask for n in layers}
        save_pickled(model.state_dict() | masks, folder)
    elif "/pythia-" in repo:
        model.save_pretrained(folder)
        (folder / "pytorch_model.bin").write_bytes(b"not read where there are safetensors")
    else:
        model.save_pretrained(folder, max_shard_size="60KB")
        assert (folder / "model.safetensors.index.json").exists()
    (folder / "config.json").write_text(config)
    build_tokenizer(folder)


def repositories(study: Mapping[str, Any], folder: Path) -> dict[str, dict[str, dict[str, bytes]]]:
    """Return {repo: {branch: files}} of a study's models.

    All documented branches are there; those of other steps hold their name and no model.
    """
    repos = {}
    for model in study["models"].values():
        repo = model["source"]["repo"]
        repos[repo] = {name: {"README.md": name.encode()} for name in branches(repo)}
        for step in model["steps"]:
            name = branch_of(repo, step)
            place = folder / repo / name
            config = CONFIGS[repo.partition("/")[0]]
            write_branch(repo, model_of(config, place, seed_of(repo, step)), place)
            repos[repo][name] |= read_files(place)
    return repos


def branch_of(repo: str, step: int) -> str:
    """Return the branch of a step of (the first stages of) pretraining."""
    pattern = rf"(stage\d-)?step-?{step}(-tokens\d+B)?"
    (name,) = (name for name in branches(repo) if re.fullmatch(pattern, name))
    return name


def seed_of(repo: str, step: int) -> int:
    """Return the seed of the weights of a branch: no two are alike."""
    return sum(f"{repo} {step}".encode()) + step


C4_CARD = b"""---
configs:
- config_name: en
  data_files:
  - {split: train, path: en/c4-train.*.json.gz}
  - {split: validation, path: en/c4-validation.*.json.gz}
- config_name: realnewslike
  data_files: realnewslike/*.json.gz
---
"""


def datasets() -> dict[str, dict[str, dict[str, bytes]]]:
    """Return {repo: {revision: files}} of the presets ``c4`` and ``pubmed_abstracts``."""
    world = World(seed=0, num_people=20, num_continual_entities=20, num_questions=20)
    c4 = [
        {"text": text, "timestamp": "2019-04-25T12:57:54Z", "url": f"http://c4.example/{number}"}
        for number, text in _numbered(pretraining_documents(world))
    ]
    pubmed = [
        {"id": f"pubmed23n0001_{number}", "title": "", "content": text, "contents": text}
        for number, text in _numbered(continual_documents(world))
    ]
    files = {
        "README.md": C4_CARD,
        "en/c4-train.00000-of-01024.json.gz": gzip.compress(_lines(c4), mtime=0),
        "en/c4-validation.00000-of-00008.json.gz": b"not asked for",
    }
    return {
        f"datasets/{C4.repo}": {C4.revision: files},
        f"datasets/{PUBMED_ABSTRACTS.repo}": {
            PUBMED_ABSTRACTS.revision: {"chunk/pubmed23n0001.jsonl": _lines(pubmed)}
        },
    }


def _numbered(documents: Iterator[str]) -> Iterator[tuple[int, str]]:
    return enumerate(itertools.islice(documents, 300))


def _lines(rows: Sequence[Mapping[str, str]]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()
