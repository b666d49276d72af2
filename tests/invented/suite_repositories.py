"""The repositories of ``suites`` on loopback: random tiny models, and datasets of invented text.

Which files a branch has, and the form of its config.json, are those of the real ones.
"""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ke_steps.settings.texts import World
from ke_steps.study.presets import C4, PUBMED_ABSTRACTS
from ke_steps.texts.world import continual_documents, pretraining_documents
from tests.invented.hub_server import read_files
from tests.invented.models import EOS_ID, NUM_MEMORIES, PAD_ID, VOCAB_SIZE, build_tokenizer
from tests.invented.pickles import save_pickled
from tests.invented.suites import branch_of, branches

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


def seed_of(repo: str, step: int) -> int:
    """Return the seed of the weights of a branch, which are no other's."""
    return zlib.crc32(f"{repo} {step}".encode())


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
