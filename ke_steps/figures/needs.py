"""Which figures a study has the data for, told from its config alone."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Collection
from typing import NamedTuple

from ke_steps.figures.sweeps import SweptName, resuscitations, sweeps, tempered
from ke_steps.settings.interventions import PARTS, Control, Multipliers
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.study import Run, Study
from ke_steps.settings.telling import MIN_LEARNING_RATES, MIN_RUNS_OF_PRETRAINING, FigureName

FIGURE_NAMES: tuple[FigureName, ...] = typing.get_args(FigureName)
"""In the order of the report."""


class Need(NamedTuple):
    """What a figure is drawn from, and what to say where it is not there."""

    is_met: Callable[[Study], bool]
    reason: str


def available(study: Study) -> list[FigureName]:
    """Return the figures that a study has data for, in the order of the report."""
    return [figure for figure in FIGURE_NAMES if missing(study, figure) is None]


def missing(study: Study, figure: FigureName) -> str | None:
    """Return what a study lacks for a figure, in words; None when it lacks nothing."""
    need = NEEDS.get(figure)
    return None if need is None or need.is_met(study) else need.reason


def _runs(study: Study, model: str, variants: Collection[str]) -> list[Run]:
    """Return the learning runs of some variants of a model, those of the main recipe first."""
    found = [run for run in study.runs() if run.model == model and run.variant in variants]
    return sorted(found, key=lambda run: list(study.recipes).index(run.recipe))


def _num_learning_models(study: Study, variants: Collection[str]) -> int:
    return sum(any(_runs(study, model, variants)) for model in study.models)


def _has_token_entropies(study: Study) -> bool:
    extract = study.extract_coefficients
    return bool(extract.num_attention_sequences or extract.num_next_token_sequences)


def _has_sweep(study: Study, swept: SweptName) -> bool:
    """Tell whether the main recipe of a model meets two strengths at one of its stages."""
    for _, strengths in sweeps(study.variants, swept):
        for model in study.models:
            runs = _runs(study, model, strengths)
            pairs = {(r.step, strengths[r.variant]) for r in runs if r.recipe == runs[0].recipe}
            if len(pairs) > len({step for step, _ in pairs}):
                return True
    return False


def _has_resuscitated_stages(study: Study) -> bool:
    return any(
        len({run.step for run in _runs(study, model, [name])}) > 1
        for name in resuscitations(study.variants)
        for model in study.models
    )


def _has_phases(study: Study) -> bool:
    """Tell whether recall is asked over a course of trained checkpoints in two families."""
    enough = study.summarize.min_points
    families = {
        model.family
        for model in study.models.values()
        if model.family and len(model.steps) - model.has_untrained >= enough
    }
    return study.evaluate_retention is not None and len(families) > 1


def _has_recipes(study: Study) -> bool:
    return any(
        len({run.recipe for run in _runs(study, model, [ORIGINAL])}) > 1 for model in study.models
    )


def _has_retention(study: Study) -> bool:
    return any(
        study.recipes[run.recipe].probe_interval_steps
        for model in study.models
        for run in _runs(study, model, [ORIGINAL])
    )


def _has_runs_of_pretraining(study: Study) -> bool:
    """Tell whether a recipe meets enough runs, none alone in its family, at a stage of all."""
    families = {name: model.family for name, model in study.models.items()}
    for recipe in study.recipes:
        steps: dict[str, set[int]] = {}
        for run in study.runs():
            is_stage = run.step > 0 or not study.models[run.model].has_untrained
            if run.recipe == recipe and run.variant == ORIGINAL and is_stage:
                steps.setdefault(run.model, set()).add(run.step)
        sizes = Counter(families[model] for model in steps if families[model])
        compared = [model for model in steps if sizes[families[model]] > 1]
        shared = set.intersection(*(steps[model] for model in compared)) if compared else set()
        if shared and len(compared) >= MIN_RUNS_OF_PRETRAINING:
            return True
    return False


def _has_frontiers(study: Study) -> bool:
    """Tell whether a trained checkpoint learns at enough rates, and old knowledge is asked."""
    for rates in study.recipes_by("learning_rate").values():
        runs = [run for run in study.runs() if run.recipe in rates and run.seed == study.seeds[0]]
        trained = (run for run in runs if run.step > 0 or not study.models[run.model].has_untrained)
        if max(Counter(run[:3] for run in trained).values(), default=0) >= MIN_LEARNING_RATES:
            return study.evaluate_retention is not None
    return False


def _has_effects(study: Study) -> bool:
    """Tell whether all of gauge × function, or a variant and a control of it, learn alike."""
    originals = {run._replace(variant="") for run in study.runs() if run.variant == ORIGINAL}
    learned: dict[tuple[Run, float, float, float | None], set[str]] = {}
    for run in study.runs():
        is_trained = run.step > 0 or not study.models[run.model].has_untrained
        arm = study.arms.get(run.variant)
        if is_trained and arm and isinstance(variant := arm.settings, Multipliers):
            alike = run._replace(variant="")
            place = (alike, variant.quantile, variant.boost, variant.max_multiplier)
            name = f"less {variant.of}" if isinstance(variant, Control) else variant.kind
            learned.setdefault(place, set()).add(name)
    return any(
        (run in originals and kinds >= set(PARTS)) or any(f"less {kind}" in kinds for kind in kinds)
        for (run, *_), kinds in learned.items()
    )


_LEARNED = Need(
    lambda study: _num_learning_models(study, [ORIGINAL]) > 0,
    "no recipe is run on an original checkpoint",
)
NEEDS: dict[FigureName, Need] = {
    "entropy_by_corpus": Need(
        lambda study: bool(study.extract_coefficients.other_corpora),
        "extract_coefficients.other_corpora is empty",
    ),
    "entropy_by_phase": Need(
        _has_phases,
        "no two families have models with summarize.min_points trained checkpoints, or"
        " evaluate_retention is absent",
    ),
    "rivals_by_stage": Need(
        lambda study: study.measure_rivals is not None, "measure_rivals is null"
    ),
    "attention_and_next_token_entropy": Need(
        _has_token_entropies,
        "extract_coefficients has neither num_attention_sequences nor num_next_token_sequences",
    ),
    "acquisition_and_forgetting": _LEARNED,
    "performance_by_stage": _LEARNED,
    "probe_curves": _LEARNED,
    "knowledge_by_injection": _LEARNED,
    "variants": Need(
        lambda study: _num_learning_models(study, study.arms) > 0,
        "no recipe is run on a variant",
    ),
    "resuscitation_by_boost": Need(
        lambda study: _has_sweep(study, "boost"),
        "no stage is learned from at two boosts with quantile, max_multiplier and rows the same",
    ),
    "resuscitation_by_quantile": Need(
        lambda study: _has_sweep(study, "quantile"),
        "no stage is learned from at two quantiles with boost, max_multiplier and rows the same",
    ),
    "resuscitation_by_stage": Need(
        _has_resuscitated_stages, "no resuscitation is learned from at two stages of a model"
    ),
    "attention_temperature": Need(
        lambda study: _num_learning_models(study, tempered(study.variants)) > 0,
        "no recipe is run on a variant of kind temper_attention or rescale_queries",
    ),
    "learning_by_recipe": Need(_has_recipes, "no two recipes are run on one model"),
    "learning_by_model": Need(
        lambda study: _num_learning_models(study, [ORIGINAL]) > 1,
        "no recipes are run on the original checkpoints of two models",
    ),
    "learning_frontiers": Need(
        _has_frontiers,
        f"no checkpoint learns by {MIN_LEARNING_RATES} recipes that differ in learning_rate alone,"
        " or evaluate_retention is absent",
    ),
    "gauge_and_function": Need(
        _has_effects,
        "no checkpoint learns by one recipe as the original, gauge, function and resuscitate with"
        " the same multipliers, or as a variant and its control",
    ),
    "retention_over_time": Need(
        _has_retention, "no recipe with probe_interval_steps is run on an original checkpoint"
    ),
    "entropy_and_learning": _LEARNED,
    "entropy_and_learning_between_runs": Need(
        _has_runs_of_pretraining,
        f"no recipe is run on the same stage of {MIN_RUNS_OF_PRETRAINING} models, each of a family"
        " with another of them",
    ),
    "novelty_by_corpus": Need(
        lambda study: study.evaluate_novelty is not None, "evaluate_novelty is absent"
    ),
    "update_map": _LEARNED,
    "ranking_changes": Need(
        lambda study: any(len(model.steps) > 1 for model in study.models.values()),
        "no model has two checkpoints",
    ),
}
"""Figures that are not named here are drawn from what every study measures."""
