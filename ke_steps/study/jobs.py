"""What the jobs of a study receive: settings by step, names of figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from ke_steps.figures.needs import available
from ke_steps.settings.checkpoints import BranchCheckpoint, FetchCheckpoint, KeepCheckpoint
from ke_steps.settings.interventions import Variant
from ke_steps.settings.learning import ORIGINAL, EncodeProbes, ScheduleInjections
from ke_steps.settings.resolved import resolved
from ke_steps.settings.study import Study
from ke_steps.settings.telling import FigureName
from ke_steps.settings.texts import WorldKnowledge, WorldText
from ke_steps.settings.types import Strict
from ke_steps.study.places import folders
from ke_steps.study.presets import expand, expand_knowledge

NOT_FOR_JOBS = {"kind", "models", "steps", "variants", "other_corpora", "num_shards"}
"""Keys that say which jobs there are; what a job computes does not depend on them."""


Wildcards = Mapping[str, str]


def settings_for(study: Study, step: str, wildcards: Wildcards) -> dict[str, Any]:
    """Return what one job of a step depends on: its section and its wildcards' entries."""
    entry = ENTRIES.get(step, _section(step))(study, wildcards)
    extra = EXTRAS.get(step, _nothing)(study, wildcards)
    return entry.model_dump(mode="json", exclude=NOT_FOR_JOBS) | extra


def tracked_settings(study: Study, step: str, wildcards: Wildcards) -> dict[str, Any]:
    """Return that of them whose change makes a job run again; its inputs tell of their places."""
    return {
        key: value for key, value in settings_for(study, step, wildcards).items() if key != "places"
    }


def _section(step: str) -> Callable[[Study, Wildcards], BaseModel]:
    return lambda study, _: getattr(study, step)


def _nothing(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    return {}


def _fetch(study: Study, wildcards: Wildcards) -> BaseModel:
    source = study.models[wildcards["model"]].source
    return FetchCheckpoint.model_validate({"source": source, "step": int(wildcards["step"])})


def _branch(study: Study, wildcards: Wildcards) -> BaseModel:
    said = study.branches[wildcards["model"]].model_dump(exclude={"kind", "model"})
    return BranchCheckpoint(num_threads=study.num_threads, **said)


def _schedule(study: Study, wildcards: Wildcards) -> BaseModel:
    keys = ScheduleInjections.model_fields.keys() - {"seed"}
    recipe = study.recipes[wildcards["recipe"]].model_dump(include=keys)
    return ScheduleInjections(seed=int(wildcards["seed"]), **recipe)


def _threads(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    return {"num_threads": study.num_threads}


def _begin_of_text(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    return {"begin_of_text": study.models[wildcards["model"]].begin_of_text}


def _extraction(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    return _threads(study, wildcards) | {"corpus": wildcards["corpus"]}


def _whole_extraction(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    is_main = wildcards["corpus"] == study.main_corpus(wildcards["model"])
    compared = is_main and _is_compared(study, wildcards, study.extract_coefficients.precision)
    return _extraction(study, wildcards) | {"compare_with_fp32": compared}


def _shards(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    num_shards = study.extract_coefficients.num_shards
    return _extraction(study, wildcards) | {"num_shards": num_shards}


def _tokenizer(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    return _texts(study, study.nurseries[wildcards["model"]].corpus)


def _world(study: Study, *, needed: bool = True) -> dict[str, Any]:
    world = study.world.model_dump(mode="json") if study.world and needed else None
    return {"world": world}


def _corpus(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    corpus = study.corpora[wildcards["corpus"]]
    return _texts(study, wildcards["corpus"]) | {
        **_begin_of_text(study, wildcards),
        "num_sequences": corpus.most_sequences,
        "may_be_fewer": corpus.num_sequences is None,
    }


def _texts(study: Study, corpus: str) -> dict[str, Any]:
    source = expand(study.corpora[corpus].source)
    world = _world(study, needed=isinstance(source, WorldText))
    return world | {"source": source.model_dump(mode="json")}


def _knowledge(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    if study.knowledge is None:  # then no job asks
        return {}
    source = expand_knowledge(study.knowledge.source)
    world = _world(study, needed=isinstance(source, WorldKnowledge))
    return world | {"source": source.model_dump(mode="json")}


def _learning(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    return _threads(study, wildcards) | _begin_of_text(study, wildcards)


def _retention(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    retention = study.evaluate_retention
    asks_world = retention is not None and "world_recall" in retention.tasks
    precision = retention.precision if retention else "fp32"
    return (
        _learning(study, wildcards)
        | _world(study, needed=asks_world)
        | {"compare_with_fp32": _is_compared(study, wildcards, precision)}
    )


def _is_compared(study: Study, wildcards: Wildcards, precision: str) -> bool:
    """Tell whether a job below fp32 is on the one state of its model that fp32 is tried on."""
    return (
        precision != "fp32"
        and "recipe" not in wildcards
        and wildcards["variant"] == ORIGINAL
        and int(wildcards["step"]) == max(study.models[wildcards["model"]].steps)
    )


def _intervention(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    arm = study.arms[wildcards["variant"]]
    return {"intervention": _said(arm.settings), "draw": arm.draw}


def _variants(study: Study) -> dict[str, Any]:
    return {name: _said(arm.settings) for name, arm in study.arms.items()}


def _said(variant: Variant) -> dict[str, Any]:
    return variant.model_dump(mode="json", exclude={"models", "steps", "num_draws"})


def _order(study: Study) -> dict[str, Any]:
    return {"recipes": list(study.recipes), "variants": list(study.arms)}


def _summary(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    return {
        "order": _order(study),
        "main_corpora": study.main_corpora(),
        "score": study.evaluate_knowledge.score,
        "variants": _variants(study),
        "families": {name: model.family for name, model in study.models.items() if model.family},
        "nurseries": {
            name: nursery.model_dump(mode="json") for name, nursery in study.nurseries.items()
        },
        "frontiers": study.recipes_by("learning_rate"),
        "branches": {name: source.model for name, source in study.branches.items()},
        "doses": study.recipes_by("contribution_entropy_weight"),
        "compensated": [name for name, recipe in study.recipes.items() if recipe.compensate_gauge],
        "untrained": [name for name, model in study.models.items() if model.has_untrained],
        "places": folders(study),
    }


def _drawing(study: Study, wildcards: Wildcards) -> dict[str, Any]:
    return {
        "figures": figures(study),
        "confidence": study.summarize.confidence,
        "main_corpora": study.main_corpora(),
        "variants": _variants(study),
        "recipes": list(study.recipes),
    }


ENTRIES: dict[str, Callable[[Study, Wildcards], BaseModel]] = {
    "fetch_checkpoint": _fetch,
    "pretrain_nursery": lambda study, w: study.nurseries[w["model"]],
    "branch_checkpoint": _branch,
    "keep_checkpoint": lambda study, w: KeepCheckpoint(step=int(w["step"])),
    "prepare_corpus": lambda study, w: study.corpora[w["corpus"]],
    "extract_shard": lambda study, w: study.extract_coefficients,
    "merge_shards": lambda study, w: study.extract_coefficients,
    "prepare_knowledge": _section("knowledge"),
    "schedule_injections": _schedule,
    "inject_knowledge": lambda study, w: study.recipes[w["recipe"]],
    "intervene": lambda study, w: Strict(),
    "encode_probes": lambda study, w: EncodeProbes(),
}
"""The part of the config that a step is about, where that is not the section of its name."""

EXTRAS: dict[str, Callable[[Study, Wildcards], dict[str, Any]]] = {
    "train_tokenizer": _tokenizer,
    "pretrain_nursery": lambda study, w: {"steps": study.models[w["model"]].steps},
    "prepare_corpus": _corpus,
    "encode_probes": _begin_of_text,
    "prepare_knowledge": _knowledge,
    "inject_knowledge": lambda study, w: _learning(study, w) | {"seed": int(w["seed"])},
    "extract_coefficients": _whole_extraction,
    "extract_shard": lambda study, w: _shards(study, w) | {"shard": int(w["shard"])},
    "merge_shards": _shards,
    "intervene": _intervention,
    "describe_memories": _threads,
    "measure_rivals": _threads,
    "evaluate_novelty": _threads,
    "evaluate_retention": _retention,
    "summarize": _summary,
    "plot_figures": _drawing,
    "write_report": lambda study, w: {"study": json.dumps(resolved(study))},
}
"""What a step must know beside that."""


def figures(study: Study) -> list[FigureName]:
    """Return the figures to draw: those asked for, or all that there will be data for."""
    return study.plot_figures.figures or available(study)
