"""The public suites of ``config/`` in miniature: branches of their repositories, and their studies.

Names of repositories and branches are those of ``docs/hub.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

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

MODELS = {
    "polypythias": ["pythia-14m", "pythia-14m-seed1", "pythia-31m"],
    "pythia": ["pythia-70m"],
    "olmo2": ["olmo2-1b", "olmo2-7b"],
    "smollm3": ["smollm3-3b"],
}
"""Those of each study that are in its miniature."""

LAST_STAGE_ALONE = {"pythia-31m", "olmo2-7b"}
"""Models of the miniatures at their last stage; the others are at their first as well."""

SUITES = list(MODELS)

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


def branch_of(repo: str, step: int) -> str:
    """Return the branch of a step of (the first stages of) pretraining."""
    pattern = rf"(stage\d-)?step-?{step}(-tokens\d+B)?"
    (name,) = (name for name in branches(repo) if re.fullmatch(pattern, name))
    return name


def shipped(name: str) -> dict[str, Any]:
    """Return the study of a suite as ``config/`` has it."""
    study: dict[str, Any] = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    return study


def miniature(name: str, folder: Path) -> dict[str, Any]:
    """Return the study of a suite with smaller numbers, and passages of a folder."""
    study = shipped(name)
    models = {key: study["models"][key] for key in MODELS[name]}
    models = {key: model | {"steps": _stages(key, model["steps"])} for key, model in models.items()}
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


def _stages(model: str, steps: Sequence[int]) -> list[int]:
    return [*steps[: model not in LAST_STAGE_ALONE], steps[-1]]


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
