"""Documents of a dataset on the Hugging Face hub, streamed: nothing is downloaded ahead of its use.

A revision is resolved to its commit first; all data are those of that commit, whatever the branch
does meanwhile. Rows without text are passed over and counted; everything else that is not as the
settings say is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi, is_offline_mode

from ke_steps.hub.calls import call_hub
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.settings.texts import HubDatasetText
from ke_steps.texts.compressed import DAMAGED, open_zstandard
from ke_steps.texts.documents import DOCUMENTS_PER_BATCH, TextDocument
from ke_steps.texts.rows import TextlessRows, place_of

SHUFFLE_BUFFER_DOCUMENTS = 10_000

Batch = dict[str, list[Any]]

_UNREADABLE = (ValueError, LookupError, RuntimeError, pa.ArrowException, *DAMAGED)
"""What ``datasets`` raises for what is not there or is damaged; its own errors are OSErrors."""


def read_hub_documents(source: HubDatasetText, textless: TextlessRows) -> Iterator[TextDocument]:
    """Return the dataset's documents in its order, or shuffled by ``source.seed``.

    Rows without text are counted in ``textless``.

    Raises:
        UserError: at once for an unknown repository, revision, subset or split, for one that the
            hub does not hand out, or without a connection; while reading for a missing column,
            a value that is not text, or data that cannot be read.
    """
    commit = resolve_commit(source)
    provenance.note(f"commit of {source.repo}", commit)
    return _documents(_batches(source, _stream(source, commit)), source, textless)


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
    from fsspec.compression import register_compression

    register_compression("zstd", lambda file, mode: open_zstandard(file), "zst", force=True)
    datasets.disable_progress_bars()
    # else reading would load all of torch, only to learn that this is none of its workers
    datasets.config.TORCH_AVAILABLE = False
    try:
        builder = datasets.load_dataset_builder(source.repo, source.subset, revision=commit)
        _choose_columns(builder, source)
        dataset = builder.as_streaming_dataset(split=source.split)
    except _UNREADABLE as error:
        raise UserError(f"dataset {source.repo}: {_line(error)}") from error
    if source.seed is None:
        return dataset
    return dataset.shuffle(seed=source.seed, buffer_size=SHUFFLE_BUFFER_DOCUMENTS)


def _choose_columns(builder: Any, source: HubDatasetText) -> None:
    """Let Parquet be read by the columns that are used; of the others two may share a name."""
    from datasets.packaged_modules.parquet.parquet import ParquetConfig
    from datasets.utils.file_utils import xopen

    if not isinstance(builder.config, ParquetConfig):
        return
    first = next(itertools.chain.from_iterable(builder.config.data_files.values()))
    with xopen(first, "rb") as file:
        names = pq.read_schema(file).names
    columns = list(dict.fromkeys([source.text_field, source.id_field or source.text_field]))
    for name in columns:
        place_of(name, names, where=f"dataset {source.repo}")
    builder.config.columns = columns


def _batches(source: HubDatasetText, dataset: Any) -> Iterator[Batch]:
    try:
        yield from dataset.iter(batch_size=DOCUMENTS_PER_BATCH)
    except (*_UNREADABLE, httpx.TransportError) as error:
        raise UserError(f"dataset {source.repo}: cannot be read ({_line(error)})") from error


def _documents(
    batches: Iterator[Batch], source: HubDatasetText, textless: TextlessRows
) -> Iterator[TextDocument]:
    place = 0
    for batch in batches:
        texts = _column(batch, source.text_field, source)
        ids = texts if source.id_field is None else _column(batch, source.id_field, source)
        for value, name in zip(texts, ids, strict=True):
            where = f"dataset {source.repo}"
            text = textless.text_of(value, source.text_field, where=where)
            if text is not None:
                yield TextDocument(str(place if source.id_field is None else name), text)
            place += 1


def _column(batch: Batch, name: str, source: HubDatasetText) -> list[Any]:
    place_of(name, list(batch), where=f"dataset {source.repo}")
    return batch[name]


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
