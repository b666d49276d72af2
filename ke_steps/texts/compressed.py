"""Compressed text, read as a stream: by the ending of a file's name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import pyarrow as pa

BUFFER_BYTES = 2**20

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading raises where a file is truncated, or not compressed as its name says."""


def open_text(path: Path, compression: str, *, newline: str | None = None) -> TextIO:
    """Open a file of UTF-8 text; a byte order mark is passed over.

    Args:
        path: the file.
        compression: a key of ``OPENERS``.
        newline: as of ``open``.
    """
    content = cast(BinaryIO, OPENERS[compression](path))
    return io.TextIOWrapper(content, encoding="utf-8-sig", newline=newline)


def open_zstandard(source: Path | BinaryIO) -> io.BufferedReader:
    """Decompress Zstandard, of a file or its bytes; Python itself reads it from 3.14 on."""
    stream = pa.CompressedInputStream(source, "zstd")
    return io.BufferedReader(cast(io.RawIOBase, stream), BUFFER_BYTES)


def _open_plain(path: Path) -> io.BufferedReader:
    return path.open("rb")


OPENERS: dict[str, Callable[[Path], io.BufferedIOBase]] = {
    "": _open_plain,
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": open_zstandard,
}
"""Ending → how the bytes of a file are read."""
