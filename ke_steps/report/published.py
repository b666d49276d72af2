"""The paper's own numbers (tables 1 and 2), and whether a study is the one they are of.

A number is only set beside a measured one when checkpoint, recipe, corpus, new knowledge and tasks
are those of the paper; the names that a study gives them do not matter. Every setting that the
paper fixes counts (FACTS section 2). What it does not fix is free: the seed, which draws other
layouts of the same injections, sequences per forward pass, and when probes are taken beside.
"""

from __future__ import annotations

from typing import Any

from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION,
    FORGETTING,
    KNOWLEDGE_AFTER,
    OUTCOMES,
    Measure,
)

REPO = "allenai/OLMo-1B-hf"
MAX_STEP_DEVIATION = 0.005
"""The paper rounds the steps of its stages: 118k is 117,850."""

TASKS = {"sciq", "winogrande", "piqa", "openbook_qa", "hellaswag", "arc_easy"}
KNOWLEDGE = {
    "source": {"kind": "preset", "name": "fictional_knowledge"},
    "num_paraphrase_passages": 70,
    "num_once_passages": 60,
}
"""Whether the preset's files are fetched or in a folder is no matter."""

CORPUS = {
    "source": {"kind": "preset", "name": "pubmed_abstracts"},
    "num_sequences": 204800,
    "sequence_length_tokens": 1024,
    "skip_sequences": 0,
}
OWN_BEGINNINGS = ("tokenizer", "never")
"""Values of ``begin_of_text`` that are the same for OLMo-1B, whose tokenizer adds no token."""

_BASELINE: dict[str, Any] = {
    "batch_size_sequences": 128,
    "learning_rate": 4e-4,
    "num_steps": 1600,
    "warmup_steps": 80,
    "schedule": "cosine",
    "min_learning_rate_ratio": 0.1,
    "weight_decay": 0.1,
    "max_gradient_norm": 1.0,
    "num_epochs": 1,
    "num_injections": 10,
    "injection_interval_steps": 160,
    "precision": "bf16",
    "contribution_entropy_weight": 0.0,
    "compensate_gauge": False,
}
RECIPES: dict[str, dict[str, Any]] = {
    "baseline": _BASELINE,
    "batch2048": _BASELINE
    | {
        "batch_size_sequences": 2048,
        "num_steps": 100,
        "warmup_steps": 5,
        "injection_interval_steps": 10,
    },
    "lr1e-3": _BASELINE | {"learning_rate": 1e-3},
    "lr1e-4": _BASELINE | {"learning_rate": 1e-4},
    "epochs3": _BASELINE | {"num_epochs": 3, "num_steps": 4800},
}
"""All that the paper fixes of its recipes; ``num_steps`` counts all epochs, ``warmup_steps`` does
not grow with them. The betas of AdamW are the paper's in every study."""

_VALUES: dict[str, dict[int, tuple[float, float, float, float]]] = {
    "baseline": {
        118000: (0.252, 0.105, -0.281, 0.540),
        369000: (0.248, 0.129, -0.280, 0.546),
        554000: (0.214, 0.170, -0.293, 0.528),
        738000: (0.188, 0.195, -0.301, 0.520),
    },
    "batch2048": {
        118000: (0.089, 0.022, -0.342, 0.590),
        369000: (0.078, 0.035, -0.344, 0.605),
        554000: (0.010, 0.055, -0.368, 0.601),
        738000: (-0.922, 0.449, -0.714, 0.356),
    },
    "lr1e-3": {
        118000: (0.173, 0.167, -0.310, 0.503),
        369000: (0.157, 0.203, -0.314, 0.499),
        554000: (0.107, 0.230, -0.332, 0.490),
        738000: (0.050, 0.235, -0.353, 0.494),
    },
    "lr1e-4": {
        118000: (0.216, 0.024, -0.294, 0.589),
        369000: (0.230, 0.032, -0.287, 0.607),
        554000: (0.237, 0.046, -0.284, 0.606),
        738000: (0.226, 0.073, -0.287, 0.599),
    },
    "epochs3": {
        118000: (0.288, 0.148, -0.267, 0.514),
        369000: (0.280, 0.174, -0.268, 0.517),
        554000: (0.259, 0.201, -0.276, 0.508),
        738000: (0.245, 0.231, -0.280, 0.497),
    },
}
"""In the order of OUTCOMES: A and F (table 1), K on the reference scale in nats and P (table 2)."""


def published_values(
    study: dict[str, Any], model: str, recipe: str, step: int
) -> dict[Measure, float]:
    """Return the paper's numbers for an original checkpoint, empty where none fits.

    K is left out unless the study scores probes on the paper's scale. A is kept, as a ratio, on
    either scale. Fractions, and nats for K.
    """
    name = published_recipe(study, recipe)
    if name is None or not _is_published_model(study["models"][model]):
        return {}
    for stage, numbers in _VALUES[name].items():
        if abs(step - stage) <= MAX_STEP_DEVIATION * stage:
            comparable = _comparable(study)
            found = zip(OUTCOMES, numbers, strict=True)
            return {measure: value for measure, value in found if measure in comparable}
    return {}


def published_recipe(study: dict[str, Any], recipe: str) -> str | None:
    """Return the paper's name for a recipe that is the same in all the paper fixes, or None."""
    settings = study["recipes"][recipe]
    if study["corpora"][settings["corpus"]] != CORPUS:
        return None
    warmup_steps = round(settings["warmup_fraction"] * settings["num_steps"])
    told = {**settings, "warmup_steps": warmup_steps}
    for name, parameters in RECIPES.items():
        if all(told[key] == value for key, value in parameters.items()):
            return name
    return None


def _is_published_model(model: dict[str, Any]) -> bool:
    source = model["source"]
    is_repo = source["kind"] == "hub" and source["repo"] == REPO
    return is_repo and model["begin_of_text"] in OWN_BEGINNINGS


def _comparable(study: dict[str, Any]) -> set[Measure]:
    knowledge, retention = study["knowledge"], study["evaluate_retention"]
    measures: set[Measure] = set()
    source = {key: value for key, value in knowledge["source"].items() if key != "folder"}
    if {**knowledge, "source": source} == KNOWLEDGE:
        measures.add(ACQUISITION)
        if is_reference_scale(study):
            measures.add(KNOWLEDGE_AFTER)
    if retention and set(retention["tasks"]) == TASKS and retention["num_items_per_task"] is None:
        measures |= {FORGETTING, ACCURACY_AFTER}
    return measures


def is_reference_scale(study: dict[str, Any]) -> bool:
    """Tell whether a study's K is on the scale of the published one (see docs/measures.md)."""
    return bool(study["evaluate_knowledge"]["score"] == "reference_padded")
