"""Local files that a study names and that are not there, or no use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ke_steps._local_models import unusable_models
from ke_steps.settings import (
    Corpus,
    FictionalKnowledge,
    LocalText,
    TokenFileText,
)

if TYPE_CHECKING:
    from ke_steps.study import Study


def missing_files(study: Study) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for every file that is not there and every useless checkpoint."""
    for name, corpus in study.corpora.items():
        for key, path in _files_of(corpus):
            if not Path(path).is_file():
                yield f"corpora.{name}.source.{key}", f"no such file: {path}"
    if isinstance(source := study.knowledge.source, FictionalKnowledge):
        for key in ("paraphrase_path", "once_path"):
            if not Path(getattr(source, key)).is_file():
                yield f"knowledge.source.{key}", f"no such file: {getattr(source, key)}"
    yield from unusable_models(study)


def _files_of(corpus: Corpus) -> Iterator[tuple[str, str]]:
    if isinstance(corpus.source, LocalText):
        for index, path in enumerate(corpus.source.paths):
            yield f"paths[{index}]", path
    elif isinstance(corpus.source, TokenFileText) and "://" not in corpus.source.location:
        yield "location", corpus.source.location
