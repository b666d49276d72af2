"""Documents of a dataset on the Hugging Face hub, streamed: nothing is downloaded ahead of its use.

A revision is resolved to its commit first; all data are those of that commit, whatever the branch
does meanwhile. Rows without text are passed over (public corpora hold some); everything else that
is not as the settings say is refused.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow as pa
from huggingface_hub import HfApi, is_offline_mode

from ke_steps.hub.calls import call_hub
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.settings.texts import HubDatasetText
from ke_steps.texts.documents import DOCUMENTS_PER_BATCH, TextDocument

SHUFFLE_BUFFER_DOCUMENTS = 10_000

Batch = dict[str, list[Any]]

_UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zlib.error, pa.ArrowException)
"""What ``datasets`` raises for what is not there or is damaged; its own errors are OSErrors."""


def read_hub_documents(source: HubDatasetText) -> Iterator[TextDocument]:
    """Return the dataset's documents in its order, or shuffled by ``source.seed``.

    Raises:
        UserError: at once for an unknown repository, revision, subset or split, for one that the
            hub does not hand out, or without a connection; while reading for a missing column,
            a value that is not text, or data that cannot be read.
    """
    commit = resolve_commit(source)
    provenance.note(f"commit of {source.repo}", commit)
    return _documents(_batches(source, _stream(source, commit)), source)


def resolve_commit(source: HubDatasetText) -> str:
    """Return the 40 hexadecimal digits of the commit that the revision names."""
    where = f"dataset {source.repo} at {source.revision!r}"
    if is_offline_mode():
        raise UserError(f"{where}: streamed from the hub, which HF_HUB_OFFLINE forbids")
    info = call_hub(where, lambda: HfApi().dataset_info(source.repo, revision=source.revision))
    if info.sha is None:
        raise UserError(f"{where}: the hub names no commit")
    return info.sha


def _stream(source: HubDatasetText, commit: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    # else reading would load all of torch, only to learn that this is none of its workers
    datasets.config.TORCH_AVAILABLE = False
    try:
        dataset = datasets.load_dataset(
            source.repo, source.subset, split=source.split, revision=commit, streaming=True
        )
    except _UNREADABLE as error:
        raise UserError(f"dataset {source.repo}: {_line(error)}") from error
    if source.seed is None:
        return dataset
    return dataset.shuffle(seed=source.seed, buffer_size=SHUFFLE_BUFFER_DOCUMENTS)


def _batches(source: HubDatasetText, dataset: Any) -> Iterator[Batch]:
    try:
        yield from dataset.iter(batch_size=DOCUMENTS_PER_BATCH)
    except (*_UNREADABLE, httpx.TransportError) as error:
        raise UserError(f"dataset {source.repo}: cannot be read ({_line(error)})") from error


def _documents(batches: Iterator[Batch], source: HubDatasetText) -> Iterator[TextDocument]:
    place = 0
    for batch in batches:
        texts = _column(batch, source.text_field, source)
        ids = texts if source.id_field is None else _column(batch, source.id_field, source)
        for text, name in zip(texts, ids, strict=True):
            if text is not None and not isinstance(text, str):
                raise UserError(
                    f"dataset {source.repo}: {source.text_field!r} is {type(text).__name__},"
                    " not text"
                )
            if text and not text.isspace():
                yield TextDocument(str(place if source.id_field is None else name), text)
            place += 1


def _column(batch: Batch, name: str, source: HubDatasetText) -> list[Any]:
    if name not in batch:
        raise UserError(
            f"dataset {source.repo}: no column {name!r}; columns are {', '.join(batch)}"
        )
    return batch[name]


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
