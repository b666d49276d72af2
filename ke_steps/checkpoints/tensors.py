"""Tensors in safetensors files, described without loading them: where they are, what they hold.

This module imports neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ke_steps.job.errors import UserError
from ke_steps.job.files import NOT_JSON

CHUNK_BYTES = 2**19
"""Few enough that what is read, widened and hashed stays in a core's cache."""

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""How safetensors calls the dtypes of weights, and what numpy reads; it has no bfloat16."""


class Stored(NamedTuple):
    """Where a tensor is."""

    path: Path
    dtype: str
    begin: int
    end: int


def find_tensors(paths: Iterable[Path]) -> dict[str, Stored]:
    """Return {name: where it is} over safetensors files."""
    found = {}
    for path in paths:
        header, data_start = read_header(path)
        for name, entry in header.items():
            begin, end = (data_start + offset for offset in entry["data_offsets"])
            found[name] = Stored(path, entry["dtype"], begin, end)
    return found


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return a safetensors file's {name: {dtype, shape, data_offsets}} and where its data begins.

    Raises:
        UserError: the file is truncated or not a safetensors file.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 + length or length < 2:
            raise UserError(f"{path}: truncated, or not a safetensors file; get it again")
        try:
            header = dict(json.loads(file.read(length)))
            header.pop("__metadata__", None)
            ends = [int(entry["data_offsets"][1]) for entry in header.values()]
        except (*NOT_JSON, LookupError, TypeError, AttributeError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path}: not a safetensors file ({reason}); get it again") from error
    data_bytes = max(ends, default=0)
    if data_bytes != size - 8 - length:
        raise UserError(
            f"{path}: truncated: {size - 8 - length} bytes of tensors, its header says"
            f" {data_bytes}; get it again"
        )
    return header, 8 + length


def describe_parameters(
    stored: Mapping[str, Stored],
    parts: Mapping[str, Sequence[str]],
    shapes: Mapping[str, Sequence[int]],
    tied: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Return {parameter: {dtype, shape, sha256 of its values as little-endian fp32}}.

    Equal hashes mean that a model loads equal values, whatever files, dtypes or order they are
    stored in. ``dtype`` is the stored one.

    Args:
        stored: of ``find_tensors``.
        parts: the tensors that each parameter is made of, of ``loaded_names``.
        shapes: of the model's parameters, by name.
        tied: {parameter: the one that it is another name of}; described once if the values agree.
    """
    names = sorted(parts)
    places = [[stored[part] for part in parts[name]] for name in names]
    with ThreadPoolExecutor() as pool:  # hashing needs no lock of Python's
        digests = list(pool.map(_hash_values, places))
    described = {
        name: {
            "dtype": "/".join(sorted({part.dtype for part in found})),
            "shape": list(shapes[name]),
            "sha256": digest,
        }
        for name, found, digest in zip(names, places, digests, strict=True)
    }
    for copy, original in tied.items():
        if copy in described:
            first = described.setdefault(original, described[copy])
            if first["sha256"] == described[copy]["sha256"]:
                del described[copy]
    return described


def _hash_values(places: Iterable[Stored]) -> str:
    digest = hashlib.sha256()
    for place in places:
        for values in _read_values(place):
            digest.update(values.data)
    return digest.hexdigest()


def _read_values(place: Stored) -> Iterator[NDArray[np.float32]]:
    """Yield a tensor's values in fp32, some thousand at a time; what is zero has no sign."""
    with (
        place.path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        np.errstate(over="ignore"),
    ):
        for begin in range(place.begin, place.end, CHUNK_BYTES):
            raw = np.frombuffer(
                data[begin : min(begin + CHUNK_BYTES, place.end)], DTYPES[place.dtype]
            )
            if place.dtype == "BF16":  # the upper half of a float32
                bits = raw.astype("<u4")
                bits <<= 16
                values = bits.view("<f4")
            else:
                values = raw.astype("<f4")
            values += 0  # -0 becomes 0
            yield values
