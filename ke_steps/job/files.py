"""Files of jobs: JSON, hashes, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ke_steps.job.errors import UserError

NOT_JSON = (ValueError, RecursionError)
"""What parsing raises: for other text, and for brackets nested without end."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all, keys sorted."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path, what: str = "JSON file") -> Any:
    """Read JSON in UTF-8; ``what`` is how the error calls the file.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, *NOT_JSON) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: not a readable {what} ({reason}); get it again") from error


def read_object(path: Path, what: str = "JSON file") -> dict[str, Any]:
    """Read a JSON object, as ``read_json``."""
    content = read_json(path, what)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a readable {what} (no JSON object); get it again")
    return content


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
