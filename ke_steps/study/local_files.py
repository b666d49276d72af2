"""Local files that a study names and that are not there, or no use."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from ke_steps.checkpoints.families import is_native_olmo, num_positions, read_family
from ke_steps.checkpoints.weight_files import choose_weights
from ke_steps.job.errors import UserError
from ke_steps.settings.checkpoints import CheckpointSource, DirectorySource, GgufSource
from ke_steps.settings.study import Study
from ke_steps.settings.texts import (
    Corpus,
    FictionalKnowledge,
    LocalText,
    PublishedKnowledge,
    TokenFileText,
)
from ke_steps.study.presets import expand_knowledge


def missing_files(study: Study) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for every file that is not there and every useless checkpoint."""
    for name, corpus in study.corpora.items():
        for key, path in _files_of(corpus):
            if not Path(path).is_file():
                yield f"corpora.{name}.source.{key}", f"no such file: {path}"
    for key, path in knowledge_paths(study):
        if not Path(path).is_file():
            yield f"knowledge.source.{key}", f"no such file: {path}"
    yield from unusable_models(study)


def _files_of(corpus: Corpus) -> Iterator[tuple[str, str]]:
    if isinstance(corpus.source, LocalText):
        for index, path in enumerate(corpus.source.paths):
            yield f"paths[{index}]", path
    elif isinstance(corpus.source, TokenFileText) and "://" not in corpus.source.location:
        yield "location", corpus.source.location


def knowledge_paths(study: Study) -> list[tuple[str, str]]:
    """Return (key of the source, path) of the local files that new knowledge is read from."""
    source = study.knowledge and expand_knowledge(study.knowledge.source)
    if isinstance(source, FictionalKnowledge):
        return [(key, getattr(source, key)) for key in ("paraphrase_path", "once_path")]
    if isinstance(source, PublishedKnowledge) and source.folder is not None:
        files = (source.paraphrase, source.once)
        return [("folder", str(Path(source.folder, file.name))) for file in files]
    return []


def unusable_models(study: Study) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for every local checkpoint that is not there or not of a kind.

    What takes more than a look at a folder is found by ``fetch_checkpoint``.
    """
    for name, model in study.models.items():
        if isinstance(model.source, DirectorySource | GgufSource):
            key = f"models.{name}.source.path"
            for step in model.steps:
                path = Path(model.source.path.format(step=step))
                if not path.exists():
                    yield key, f"no such file or directory: {path}"
                elif isinstance(model.source, DirectorySource):
                    yield from _faults(study, name, path)


def _faults(study: Study, name: str, directory: Path) -> Iterator[tuple[str, str]]:
    key = f"models.{name}.source.path"
    if not directory.is_dir():
        yield key, f"no directory: {directory}; a GGUF file needs source.kind 'gguf'"
        return
    try:
        choose_weights((path.name for path in directory.iterdir()), where=str(directory))
        if is_native_olmo(directory):
            return
        read_family(directory / "config.json")
    except UserError as error:
        yield key, str(error)
        return
    positions = num_positions(directory)
    for corpus in _corpora_of(study, name):
        length = study.corpora[corpus].sequence_length_tokens
        if positions is not None and length > positions:
            yield (
                f"corpora.{corpus}.sequence_length_tokens",
                f"{length} exceeds the {positions} positions of models.{name} ({directory})",
            )


def _corpora_of(study: Study, name: str) -> list[str]:
    """Return the corpora that a model reads."""
    extract, model = study.extract_coefficients, study.models[name]
    learnt = [
        recipe.corpus
        for recipe in study.recipes.values()
        if any(recipe.includes(name, step) for step in model.steps)
    ]
    held_out = [study.evaluate_retention.held_out_corpus] if study.evaluate_retention else []
    novel = study.evaluate_novelty.corpora if study.evaluate_novelty else []
    everything = [extract.corpus, *extract.other_corpora, *held_out, *novel, *learnt]
    return [name for name in dict.fromkeys(everything) if name in study.corpora]


def local_weights(source: CheckpointSource, step: int) -> list[str]:
    """Return the local files that a checkpoint is read from: none of a hub's or a nursery's."""
    if not isinstance(source, DirectorySource | GgufSource):
        return []
    path = Path(source.path.format(step=step))
    if path.is_file():  # with the other parts of a split one
        parts = re.sub(r"-\d{5}-of-", "-*-of-", glob.escape(path.name))
        return sorted(map(str, path.parent.glob(parts)))
    weights = list(path.glob("*.safetensors")) or path.glob("pytorch_model*.bin")
    return sorted(map(str, [*path.glob("*.json"), *path.glob("config.yaml"), *weights]))
