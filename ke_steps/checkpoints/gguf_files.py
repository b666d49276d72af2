"""GGUF files as they lie on the disk: all parts of a split one, their keys and their tensors.

This module imports neither torch nor transformers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFReader, ReaderTensor

from ke_steps.job.errors import UserError

PART = re.compile(r"(?P<stem>.+)-\d{5}-of-\d{5}\.gguf")
MERGING = "llama-gguf-split --merge FIRST_PART MERGED"


SAYS_NOTHING = frozenset(
    {"rope.scaling.finetuned", "rope.scaling.original_context_length", "tensor_data_layout"}
)
"""Keys without a meaning of their own, once all others are read."""

CHANGES_NOTHING = {"rope.scaling.attn_factor": 1.0, "rope.scaling.yarn_ext_factor": 1.0}


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file, or all parts of a split one."""

    path: Path
    """The file, or the first part, which has the keys."""

    architecture: str
    keys: Mapping[str, Any]
    """What the file says of the architecture, by key without the architecture's name."""

    token_ids: Mapping[str, int]
    """Ids of special tokens, by key without ``tokenizer.ggml.``."""

    tensors: Mapping[str, ReaderTensor]
    """By name, over all parts; values are read when they are asked for."""


def open_gguf(path: Path) -> GgufFile:
    """Read a GGUF file's keys and where its tensors are; of a split file, name the first part.

    Raises:
        UserError: missing, damaged or no GGUF file, or not all parts of one.
    """
    if not path.is_file():
        raise UserError(f"source.path: no such file: {path}")
    first = _read(path)
    tensors: dict[str, ReaderTensor] = {}
    for part, reader in _parts(path, first):
        for tensor in reader.tensors:
            if tensor.name in tensors:
                raise UserError(f"{part}: tensor {tensor.name} is in an earlier part, too")
            tensors[tensor.name] = tensor
    num_tensors = _value(first, "split.tensors.count")
    if num_tensors is not None and num_tensors != len(tensors):
        raise UserError(
            f"{path}: its parts have {len(tensors)} tensors, split.tensors.count says {num_tensors}"
        )
    architecture = _value(first, "general.architecture")
    if not isinstance(architecture, str):
        raise UserError(f"{path}: not a readable GGUF file (general.architecture is missing)")
    return GgufFile(
        path,
        architecture,
        _below(first, f"{architecture}."),
        _below(first, "tokenizer.ggml.", "_token_id"),
        tensors,
    )


def _read(path: Path) -> GGUFReader:
    try:
        return GGUFReader(path)
    except Exception as error:  # whatever a foreign file leads to in the library's own code
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable GGUF file ({reason}); get it again") from error


def _value(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _below(reader: GGUFReader, start: str, end: str = "") -> dict[str, Any]:
    return {
        key.removeprefix(start): field.contents()
        for key, field in reader.fields.items()
        if key.startswith(start) and key.endswith(end)
    }


def _parts(path: Path, first: GGUFReader) -> Iterator[tuple[Path, GGUFReader]]:
    count = _value(first, "split.count") or 1
    yield path, first
    if count == 1:
        return
    name = PART.fullmatch(path.name)
    if name is None or _value(first, "split.no") != 0:
        raise UserError(
            f"{path}: one of {count} parts of a GGUF file: name the first in source.path"
            f" (…-00001-of-{count:05d}.gguf), with the others beside it, or merge them: {MERGING}"
        )
    for number in range(1, count):
        part = path.with_name(f"{name['stem']}-{number + 1:05d}-of-{count:05d}.gguf")
        if not part.is_file():
            raise UserError(f"{part}: missing, one of the {count} parts of {path.name}: get it")
        reader = _read(part)
        if (_value(reader, "split.no"), _value(reader, "split.count")) != (number, count):
            raise UserError(f"{part}: not part {number + 1} of {count}: split.no says otherwise")
        yield part, reader


class Keys:
    """The keys of a GGUF file, each to be taken once."""

    def __init__(self, file: GgufFile) -> None:
        """Take over the keys of a file."""
        self.file = file
        self.left = dict(file.keys)

    def error(self, name: str, problem: str) -> UserError:
        """Return an error that names a key."""
        return UserError(f"{self.file.path}: key {self.file.architecture}.{name} {problem}")

    def optional(self, name: str) -> float | None:
        """Take a number; None where it is missing or 0, which is how the format says "unset".

        Raises:
            UserError: not one number, the same for all layers.
        """
        value = self.left.pop(name, None)
        if isinstance(value, list) and len(set(value)) == 1:
            value = value[0]
        if isinstance(value, list):
            raise self.error(name, "differs from layer to layer, which is not read")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise self.error(name, f"is {value!r}, expected a number")
        if value is not None and not 0 <= value < math.inf:
            raise self.error(name, f"is {value}, expected a number above 0")
        return value or None

    def number(self, name: str, default: float | None = None) -> float:
        """Take a number; without a default it must be there."""
        value = self.optional(name)
        if value is None and default is None:
            raise self.error(name, "is missing or 0: convert the model anew")
        return value if value is not None else default or 0.0

    def whole(self, name: str, default: int | None = None) -> int:
        """Take a whole number; without a default it must be there."""
        value = self.number(name, default)
        if not isinstance(value, int):
            raise self.error(name, f"is {value}, expected a whole number")
        return value

    def demand(self, name: str, value: int, *, why: str) -> None:
        """Take a whole number that can only have one value."""
        found = self.whole(name, value)
        if found != value:
            raise self.error(name, f"is {found}, expected {value}: {why}")

    def refuse_the_rest(self) -> None:
        """Refuse a key that nobody has taken, unless its value changes nothing."""
        if self.left.pop("attention.causal", True) is not True:
            raise self.error("attention.causal", "is false: not a causal language model")
        for name, value in sorted(self.left.items()):
            if name in SAYS_NOTHING or value in (0, "none") or value == CHANGES_NOTHING.get(name):
                continue
            raise self.error(
                name, f"({value!r}) is not read, and without it the weights mean another model"
            )
