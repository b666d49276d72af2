"""Documents of local text files, streamed.

``.txt`` holds one document per paragraph: blank lines separate documents, and the line breaks
inside one are kept. ``.jsonl``, ``.jsonl.gz`` and ``.parquet`` hold one per row, in the column
``text_field``; rows may differ in their other columns, which are not read from Parquet at all.
A row without text is refused rather than passed over. A document's id is ``<path>:<line>``, the
line (or row) where it begins, from 1.
"""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pyarrow.parquet as pq

from ke_steps.job.errors import UserError
from ke_steps.job.files import NOT_JSON
from ke_steps.texts.documents import TextDocument

Reader = Callable[[Path, str], Iterator[tuple[int, str]]]
"""Yields the line where a document begins, and its text."""


def read_text_documents(paths: Sequence[Path], text_field: str) -> Iterator[TextDocument]:
    """Return the documents of the files, in the given order.

    Raises:
        UserError: at once for a missing file or an unknown suffix; while reading for a file
            without text, a row without text, invalid UTF-8 or a damaged file.
    """
    readers = [_reader(path) for path in paths]
    return itertools.chain.from_iterable(
        _read_file(path, reader, text_field) for path, reader in zip(paths, readers, strict=True)
    )


def _reader(path: Path) -> Reader:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    for suffix, reader in READERS.items():
        if path.name.endswith(suffix):
            return reader
    raise UserError(f"{path}: unknown kind of text file; valid suffixes are {', '.join(READERS)}")


def _read_file(path: Path, reader: Reader, text_field: str) -> Iterator[TextDocument]:
    is_empty = True
    try:
        for line, text in reader(path, text_field):
            is_empty = False
            yield TextDocument(f"{path}:{line}", text)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: invalid UTF-8 ({error.reason})") from error
    except (ValueError, OSError, EOFError, zlib.error) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: damaged, or not what its suffix says ({reason})") from error
    if is_empty:
        raise UserError(f"{path}: no text in it")


def _paragraphs(path: Path, _: str) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8-sig") as file:
        numbered = enumerate(file, start=1)
        for has_text, lines in itertools.groupby(numbered, lambda line: bool(line[1].strip())):
            if has_text:
                (first, text), *others = lines
                yield first, "".join([text, *(line for _, line in others)]).strip()


def _json_lines(path: Path, text_field: str) -> Iterator[tuple[int, str]]:
    with _open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"{path}: line {number}"
                yield number, _text_of(_parse(line, where), text_field, where)


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except NOT_JSON as error:
        raise UserError(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: not a JSON object")
    return row


def _parquet_rows(path: Path, text_field: str) -> Iterator[tuple[int, str]]:
    with pq.ParquetFile(path) as file:
        columns = file.schema_arrow.names
        _refuse_missing(text_field, columns, str(path))
        batches = file.iter_batches(batch_size=1024, columns=[text_field])
        rows = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
        for number, row in enumerate(rows, start=1):
            yield number, _text_of(row, text_field, f"{path}: row {number}")


def _text_of(row: dict[str, Any], text_field: str, where: str) -> str:
    _refuse_missing(text_field, row, where)
    text = row[text_field]
    if not isinstance(text, str):
        raise UserError(f"{where}: {text_field!r} is {type(text).__name__}, not text")
    if not text.strip():
        raise UserError(f"{where}: {text_field!r} is empty")
    return text


def _refuse_missing(text_field: str, columns: Sequence[str] | dict[str, Any], where: str) -> None:
    if text_field not in columns:
        raise UserError(f"{where}: no column {text_field!r}; columns are {', '.join(columns)}")


READERS: dict[str, Reader] = {
    ".txt": _paragraphs,
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".parquet": _parquet_rows,
}
"""File name ending → its reader."""
