"""Documents of local text files, streamed.

- ``.txt`` holds one document per paragraph: blank lines separate documents, and the line breaks
  inside one are kept.
- ``.jsonl``, ``.ndjson`` and ``.json`` hold one JSON object per line, or one list of objects (or of
  texts), which is held in memory.
- ``.csv`` and ``.tsv`` begin with the names of the columns.
- ``.parquet``: no column but the text is read.

All but Parquet may be compressed (``compressed.OPENERS``). But for ``.txt`` the text is that of the
column ``text_field``; rows may differ in their other columns. Rows without text are passed over and
counted. A document's id is ``<path>:<line>``, the line where it begins, or its row, from 1.
"""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ke_steps.job.errors import UserError
from ke_steps.job.files import NOT_JSON
from ke_steps.settings.texts import text_format
from ke_steps.texts.compressed import DAMAGED, open_text
from ke_steps.texts.documents import TextDocument
from ke_steps.texts.rows import TextlessRows, place_of

ROWS_WITH_COLUMNS = 1024
"""JSON objects, from the first, of which one at least must have the text column."""

Row = tuple[int, Any]
"""The line where a row begins (or its number), and its text or what is in its place."""

Reader = Callable[[Path, str, str], Iterator[Row]]
"""Reads a file of some compression; takes the text column."""


def read_text_documents(
    paths: Sequence[Path], text_field: str, textless: TextlessRows
) -> Iterator[TextDocument]:
    """Return the documents of the files, in the given order; rows without text are counted.

    Raises:
        UserError: at once for a missing file; while reading for a file without text, without the
            column or with several of its name, a value that is not text, invalid UTF-8 or damage.
    """
    files = [(path, *_reader(path)) for path in paths]
    return itertools.chain.from_iterable(
        _documents(path, reader(path, compression, text_field), text_field, textless)
        for path, reader, compression in files
    )


def _reader(path: Path) -> tuple[Reader, str]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    ending, compression = text_format(str(path))
    return READERS[ending], compression


def _documents(
    path: Path, rows: Iterator[Row], text_field: str, textless: TextlessRows
) -> Iterator[TextDocument]:
    is_empty = True
    try:
        for line, value in rows:
            text = textless.text_of(value, text_field, where=f"{path}:{line}")
            if text is not None:
                is_empty = False
                yield TextDocument(f"{path}:{line}", text)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: invalid UTF-8 ({error.reason})") from error
    except (ValueError, csv.Error, *DAMAGED) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: damaged, or not what its name says ({reason})") from error
    if is_empty:
        raise UserError(f"{path}: no text in it")


def _paragraphs(path: Path, compression: str, _: str) -> Iterator[Row]:
    with open_text(path, compression) as file:
        numbered = enumerate(file, start=1)
        for has_text, lines in itertools.groupby(numbered, lambda line: bool(line[1].strip())):
            if has_text:
                (first, text), *others = lines
                yield first, "".join([text, *(line for _, line in others)]).strip()


def _json(path: Path, compression: str, text_field: str) -> Iterator[Row]:
    with open_text(path, compression) as file:
        lines = ((number, line) for number, line in enumerate(file, start=1) if line.strip())
        number, line = next(lines, (0, ""))
        if line.lstrip().startswith("["):
            rows = _items(_parse(line + file.read(), f"{path}:{number}"))
        else:
            every = itertools.chain([(number, line)] if line else [], lines)
            rows = ((number, _parse(line, f"{path}:{number}")) for number, line in every)
        yield from _column(rows, path, text_field)


def _items(values: Sequence[Any]) -> Iterator[Row]:
    """Number the objects of a list; texts alone are a column ``text``, as on the hub."""
    for number, value in enumerate(values, start=1):
        yield number, {"text": value} if isinstance(value, str) else value


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except NOT_JSON as error:
        raise UserError(
            f"{where}: not JSON ({error}); wanted is one object per line, or one list of objects"
        ) from error


def _column(rows: Iterator[Row], path: Path, text_field: str) -> Iterator[Row]:
    """Yield the text column of JSON objects; where one lacks it, it is null, as on the hub."""
    is_there = False
    columns: dict[str, None] = {}
    for count, (number, row) in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: not a JSON object")
        is_there = is_there or text_field in row
        if not is_there:
            columns |= dict.fromkeys(row)
            if count == ROWS_WITH_COLUMNS:
                break
        yield number, row.get(text_field)
    if columns and not is_there:
        place_of(text_field, list(columns), where=str(path))


def _csv(path: Path, compression: str, text_field: str) -> Iterator[Row]:
    return _separated(path, compression, text_field, ",")


def _tsv(path: Path, compression: str, text_field: str) -> Iterator[Row]:
    return _separated(path, compression, text_field, "\t")


def _separated(path: Path, compression: str, text_field: str, separator: str) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # else a text of more than 128 KiB is an error
    with open_text(path, compression, newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        columns = next(reader, None)
        if columns is None:
            return
        place = place_of(text_field, columns, where=str(path))
        line = reader.line_num + 1
        for row in reader:
            if len(row) > len(columns):
                raise UserError(
                    f"{path}:{line}: {len(row)} values, but the first line names {len(columns)}"
                    " columns; quote values that hold the separator"
                )
            if row:  # else a blank line
                yield line, row[place] if place < len(row) else None
            line = reader.line_num + 1


def _parquet(path: Path, _: str, text_field: str) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        place_of(text_field, file.schema_arrow.names, where=str(path))
        batches = file.iter_batches(batch_size=1024, columns=[text_field])
        values = itertools.chain.from_iterable(batch.column(0).to_pylist() for batch in batches)
        yield from enumerate(values, start=1)


READERS: dict[str, Reader] = {
    ".txt": _paragraphs,
    ".jsonl": _json,
    ".ndjson": _json,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
"""File name ending → its reader; ``settings.texts.TEXT_ENDINGS`` has the same."""
