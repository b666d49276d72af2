"""Faults of a config that only several sections together show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ke_steps.figures.needs import missing
from ke_steps.settings.learning import ORIGINAL, Scope
from ke_steps.settings.study import Study
from ke_steps.settings.texts import Knowledge, WorldKnowledge, WorldText
from ke_steps.study.arms import arm_faults
from ke_steps.study.branches import branch_faults
from ke_steps.study.nurseries import nursery_faults, section_of
from ke_steps.study.predictions import prediction_faults

NUM_TEXTS = 10
"""Texts of a paraphrase passage: the original and nine paraphrases, in both kinds of knowledge."""


def checks(study: Study) -> list[Iterator[tuple[str, str]]]:
    """Return what yields (key, what is wrong) for every fault that only several sections show."""
    return [
        _repeated_seeds(study),
        *(_unknown_corpora(study, readers) for readers in _readers(study)),
        *(_corpora_too_small(study, readers) for readers in _readers(study)),
        nursery_faults(study),
        branch_faults(study),
        _world_faults(study),
        _description_faults(study),
        _variant_faults(study),
        arm_faults(study),
        _recipe_faults(study),
        _compensation_faults(study),
        _knowledge_faults(study),
        prediction_faults(study),
        _cluster_faults(study),
        _figure_faults(study),
    ]


def _repeated_seeds(study: Study) -> Iterator[tuple[str, str]]:
    if len(set(study.seeds)) != len(study.seeds):
        yield "seeds", f"must not repeat, got {study.seeds}"


def _description_faults(study: Study) -> Iterator[tuple[str, str]]:
    if study.describe_memories:
        yield from _scope_faults(study, "describe_memories", study.describe_memories)


def _figure_faults(study: Study) -> Iterator[tuple[str, str]]:
    for index, figure in enumerate(study.plot_figures.figures or []):
        if reason := missing(study, figure):
            yield f"plot_figures.figures[{index}]", f"{figure} cannot be drawn: {reason}"


class _Reader(NamedTuple):
    """A reader of a corpus: the key that names the corpus, and who reads how many sequences."""

    key: str
    corpus: str
    section: str
    num_sequences: int


def _readers(study: Study) -> list[Iterator[_Reader]]:
    """Return what yields everything that reads a corpus, by what of the study tells it."""
    return [
        _readers_of_main_corpora(study),
        _readers_of_other_corpora(study),
        _readers_of_what_is_known(study),
        _learning_readers(study),
        _trained_readers(study),
    ]


def _readers_of_main_corpora(study: Study) -> Iterator[_Reader]:
    extract = study.extract_coefficients
    measured = extract.num_sequences or extract.num_groups
    for corpus in dict.fromkeys(study.main_corpora().values()):
        key, section = "extract_coefficients.corpus", "extract_coefficients"
        yield _Reader(key, corpus, section, measured)
        if rivals := study.measure_rivals:
            yield _Reader(key, corpus, "measure_rivals", rivals.num_sequences)


def _readers_of_other_corpora(study: Study) -> Iterator[_Reader]:
    extract, section = study.extract_coefficients, "extract_coefficients"
    measured = extract.num_sequences or extract.num_groups
    for corpus in extract.other_corpora:
        yield _Reader(f"{section}.other_corpora", corpus, section, measured)
    for corpus in study.evaluate_novelty.corpora if study.evaluate_novelty else []:
        yield _Reader("evaluate_novelty.corpora", corpus, "evaluate_novelty", 1)


def _readers_of_what_is_known(study: Study) -> Iterator[_Reader]:
    if retention := study.evaluate_retention:
        section = "evaluate_retention"
        yield _Reader(f"{section}.held_out_corpus", retention.held_out_corpus, section, 1)
    if rivals := study.measure_rivals:
        section, number = "measure_rivals", rivals.num_sequences
        for key in ("held_out_corpus", "new_corpus"):
            yield _Reader(f"{section}.{key}", getattr(rivals, key), section, number)


def _learning_readers(study: Study) -> Iterator[_Reader]:
    for name, recipe in study.recipes.items():
        needed = recipe.num_steps // recipe.num_epochs * recipe.batch_size_sequences
        yield _Reader(f"recipes.{name}.corpus", recipe.corpus, f"recipes.{name}", needed)


def _trained_readers(study: Study) -> Iterator[_Reader]:
    for name, nursery in study.nurseries.items():
        needed = nursery.num_steps // nursery.num_epochs * nursery.batch_size_sequences
        key = f"{section_of(study, name, 'corpus')}.corpus"
        yield _Reader(key, nursery.corpus, f"models.{name}.source", needed)
    for name, branch in study.branches.items():
        section = f"models.{name}.source"
        needed = branch.num_steps * branch.batch_size_sequences
        yield _Reader(f"{section}.corpus", branch.corpus, section, needed)


def _unknown_corpora(study: Study, readers: Iterator[_Reader]) -> Iterator[tuple[str, str]]:
    for key, corpus in dict.fromkeys((each.key, each.corpus) for each in readers):
        if corpus not in study.corpora:
            yield key, f"no corpus {corpus!r}; corpora has {_listed(study.corpora)}"


def _corpora_too_small(study: Study, readers: Iterator[_Reader]) -> Iterator[tuple[str, str]]:
    for each in readers:
        if each.corpus not in study.corpora:
            continue
        available = study.corpora[each.corpus].most_sequences
        if available < each.num_sequences:
            said = "" if study.corpora[each.corpus].num_sequences else "absent, hence at most "
            yield (
                f"corpora.{each.corpus}.num_sequences",
                f"{said}{available} is too few: {each.section} reads {each.num_sequences}",
            )


def _world_faults(study: Study) -> Iterator[tuple[str, str]]:
    users = [
        f"corpora.{name}.source"
        for name, corpus in study.corpora.items()
        if isinstance(corpus.source, WorldText)
    ]
    if study.knowledge and isinstance(study.knowledge.source, WorldKnowledge):
        users.append("knowledge.source")
    if study.evaluate_retention and "world_recall" in study.evaluate_retention.tasks:
        users.append("evaluate_retention.tasks")
    if users and study.world is None:
        yield "world", f"missing, but needed by {_listed(users)}"


def _variant_faults(study: Study) -> Iterator[tuple[str, str]]:
    for name, variant in study.variants.items():
        if name == ORIGINAL:
            yield f"variants.{name}", "this name is taken by the checkpoint as it is"
        yield from _scope_faults(study, f"variants.{name}", variant)


def _recipe_faults(study: Study) -> Iterator[tuple[str, str]]:
    known = [ORIGINAL, *study.variants]
    for name, recipe in study.recipes.items():
        yield from _scope_faults(study, f"recipes.{name}", recipe)
        for variant in recipe.variants or []:
            if variant not in known:
                yield f"recipes.{name}.variants", f"no variant {variant!r}; known: {_listed(known)}"
        if not any(study.runs_recipe(name, state) for state in study.states()):
            yield f"recipes.{name}", "its models, steps and variants leave nothing to run it on"


def _compensation_faults(study: Study) -> Iterator[tuple[str, str]]:
    requests = study.cluster.jobs.inject_knowledge
    for name, recipe in study.recipes.items():
        if not recipe.compensate_gauge:
            continue
        trained = {each.variant for each in study.states() if study.runs_recipe(name, each)}
        gauges = {each for each in trained if study.is_gauge(each)}
        if others := sorted(trained - gauges - ({ORIGINAL} if gauges else set())):
            yield (
                f"recipes.{name}.compensate_gauge",
                f"{_listed(others)}: no gauge, so that there is nothing to compensate; limit the"
                " recipe's variants to those of kind gauge or inverse_gauge, or permuted or top of"
                " these, and original to compare them with",
            )
        if study.cluster.sharding == "fsdp" and (requests.num_gpus or 1) > 1:
            yield f"recipes.{name}.compensate_gauge", "not with cluster.sharding: fsdp; take ddp"


def _scope_faults(study: Study, key: str, scope: Scope) -> Iterator[tuple[str, str]]:
    for model in scope.models or []:
        if model not in study.models:
            yield f"{key}.models", f"no model {model!r}; models has {_listed(study.models)}"
    known = sorted({step for model in study.models.values() for step in model.steps})
    for step in scope.steps or []:
        if step not in known:
            yield f"{key}.steps", f"no model has step {step}; steps are {known}"


def _knowledge_faults(study: Study) -> Iterator[tuple[str, str]]:
    if study.recipes and study.knowledge is None:
        yield "knowledge", f"missing, but needed by recipes: {_listed(study.recipes)}"
    if study.knowledge and not study.recipes:
        yield "recipes", "missing: no recipe learns what knowledge has; leave out both or none"
    if study.knowledge:
        yield from _injection_faults(study, study.knowledge)


def _injection_faults(study: Study, knowledge: Knowledge) -> Iterator[tuple[str, str]]:
    paraphrase = knowledge.num_paraphrase_passages
    for name, recipe in study.recipes.items():
        if paraphrase and recipe.num_injections > NUM_TEXTS:
            yield (
                f"recipes.{name}.num_injections",
                f"{recipe.num_injections} exceeds the {NUM_TEXTS} texts of a paraphrase passage",
            )
        once = math.ceil(knowledge.num_once_passages / recipe.num_injections)
        if paraphrase + once > recipe.batch_size_sequences:
            yield (
                f"recipes.{name}.batch_size_sequences",
                f"{recipe.batch_size_sequences} cannot hold an injection of {paraphrase + once}"
                f" texts ({paraphrase} paraphrase + {once} once)",
            )


def _cluster_faults(study: Study) -> Iterator[tuple[str, str]]:
    jobs = study.cluster.jobs
    trainings = [
        ("inject_knowledge", jobs.inject_knowledge, f"recipes.{name}", recipe.batch_size_sequences)
        for name, recipe in study.recipes.items()
    ]
    for name, nursery in study.nurseries.items():
        section = section_of(study, name, "batch_size_sequences")
        batch = nursery.batch_size_sequences
        trainings.append(("pretrain_nursery", jobs.pretrain_nursery, section, batch))
    for name, branch in study.branches.items():
        section, batch = f"models.{name}.source", branch.batch_size_sequences
        trainings.append(("branch_checkpoint", jobs.branch_checkpoint, section, batch))
    for rule, request, section, batch in dict.fromkeys(trainings):
        if request.num_gpus and batch % request.num_gpus:
            yield (
                f"cluster.jobs.{rule}.num_gpus",
                f"{request.num_gpus} GPUs cannot share the {batch} sequences of"
                f" {section}.batch_size_sequences equally; choose a divisor",
            )


def _listed(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names)
