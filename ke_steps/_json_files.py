"""JSON from files that may be damaged or foreign."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ke_steps._errors import UserError

NOT_JSON = (ValueError, RecursionError)
"""What parsing raises: for other text, and for brackets nested without end."""


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
