"""Whether a job's inputs are what the jobs before it wrote, as their records say.

A job's record lies at ``<results>/logs/<rule>/<place>/record.json``, its outputs at
``<results>/<rule>/<place>/…`` or deeper.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ke_steps._errors import UserError


def refuse_changed(
    inputs: Mapping[str, Path], hashes: Mapping[str, str], record: Path | None
) -> None:
    """Refuse an input that is not what its job recorded; one without a record passes.

    Args:
        inputs: paths by name.
        hashes: the sha256 of each now.
        record: where the running job's own record goes, which tells where the others are.

    Raises:
        UserError: an input has another content than its job wrote.
    """
    results = _results_of(record)
    if results is None:
        return
    for name, path in inputs.items():
        written = _find_output(path, results)
        if written is not None and written != hashes[name]:
            rule = path.relative_to(results).parts[0]
            raise UserError(
                f"{path}: not what {rule} wrote (its sha256 is not the one in the job's"
                " record.json): delete it and run again"
            )


def _results_of(record: Path | None) -> Path | None:
    for folder in record.parents if record else ():
        if folder.name == "logs":
            return folder.parent
    return None


def _find_output(path: Path, results: Path) -> str | None:
    """Return the sha256 that the job which wrote a file recorded."""
    if not path.is_relative_to(results):
        return None
    place = path.relative_to(results).parent
    for folder in (place, *place.parents[:-1]):
        record = results / "logs" / folder / "record.json"
        if record.is_file():
            return _outputs(record).get(str(path))
    return None


def _outputs(record: Path) -> dict[str, str]:
    try:
        outputs: dict[str, str] = json.loads(record.read_text())["outputs"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{record}: not a readable job record ({error}): delete it and run again"
        ) from error
    return outputs
