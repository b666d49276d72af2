"""What is wrong with the models that a study trains, beside what one key shows."""

from __future__ import annotations

from collections.abc import Iterator

from ke_steps.settings.checkpoints import NurserySource
from ke_steps.settings.study import Study
from ke_steps.settings.texts import TokenFileText
from ke_steps.study.places import preparations
from ke_steps.study.presets import expand

Faults = Iterator[tuple[str, str]]


def section_of(study: Study, name: str, key: str) -> str:
    """Return where a setting of a nursery is said: in the section of all, or at the model."""
    section = study.pretrain_nursery
    is_of_all = section and getattr(section, key) == getattr(study.nurseries[name], key)
    return "pretrain_nursery" if is_of_all else f"models.{name}.source"


def nursery_faults(study: Study) -> Faults:
    """Yield (key, what is wrong) for the models that are trained here."""
    for section in ("pretrain_nursery", "train_tokenizer"):
        if study.nurseries and getattr(study, section) is None:
            yield section, f"missing, but models.{next(iter(study.nurseries))}.source is a nursery"
    for name, nursery in study.nurseries.items():
        if study.models[name].begin_of_text == "always":
            yield (
                f"models.{name}.begin_of_text",
                "the nursery's tokenizer has no begin-of-text token; say tokenizer or never",
            )
        for step in study.models[name].steps:
            if step > nursery.num_steps:
                section = section_of(study, name, "num_steps")
                yield (
                    f"models.{name}.steps",
                    f"{step} is beyond {section}.num_steps {nursery.num_steps}",
                )
        if nursery.corpus in study.corpora and study.speaker(name) == name:
            yield from _corpus_faults(study, name, nursery)


def _corpus_faults(study: Study, name: str, nursery: NurserySource) -> Faults:
    """Yield what is wrong with the corpus of all nurseries that ``name`` speaks for."""
    learnt = study.corpora[nursery.corpus]
    if isinstance(expand(learnt.source), TokenFileText):
        section = section_of(study, name, "corpus")
        yield (
            f"{section}.corpus",
            f"corpora.{nursery.corpus} is a file of token ids, from which no tokenizer can be"
            " learnt; name a corpus of texts",
        )
    for model, read in preparations(study):
        corpus = study.corpora.get(read, learnt)
        if model == name and corpus.sequence_length_tokens > learnt.sequence_length_tokens:
            yield (
                f"corpora.{read}.sequence_length_tokens",
                f"{corpus.sequence_length_tokens} exceeds the {learnt.sequence_length_tokens}"
                f" positions that models.{name} learns on corpora.{nursery.corpus}",
            )
