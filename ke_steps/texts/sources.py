"""Documents of any source that has texts: the world, local files, a dataset of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file
from ke_steps.settings.texts import DocumentSource, HubDatasetText, LocalText, World, WorldText
from ke_steps.texts.documents import TextDocument
from ke_steps.texts.rows import TextlessRows
from ke_steps.texts.text_files import read_text_documents
from ke_steps.texts.world import continual_documents, pretraining_documents


def read_texts(
    source: DocumentSource, world: World | None, textless: TextlessRows
) -> Iterator[TextDocument]:
    """Return a source's documents in their order; rows without text are counted."""
    match source:
        case WorldText():
            return _world_documents(source, world)
        case LocalText():
            return _local_documents(source, textless)
        case HubDatasetText():
            from ke_steps.texts.hub_datasets import read_hub_documents

            return read_hub_documents(source, textless)
    assert_never(source)


def _world_documents(source: WorldText, world: World | None) -> Iterator[TextDocument]:
    if world is None:
        raise UserError("world: missing, but the corpus has source.kind 'world'")
    if source.domain == "pretraining":
        texts = pretraining_documents(world, source)
    else:
        texts = continual_documents(world, source)
    return (TextDocument(str(place), text) for place, text in enumerate(texts))


def _local_documents(source: LocalText, textless: TextlessRows) -> Iterator[TextDocument]:
    paths = [Path(path) for path in source.paths]
    texts = read_text_documents(paths, source.text_field, textless)
    for path in paths:
        provenance.note(f"sha256 of {path}", hash_file(path))
    return texts
