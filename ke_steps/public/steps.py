"""Steps of the workflow, run one after the other in this process as each is by its job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from ke_steps.job import provenance
from ke_steps.job.command_line import inputs_of
from ke_steps.job.errors import UserError

KEYWORDS = {
    "models.<name>.end_of_text": "end_of_text",
    "models.<name>.begin_of_text": "begin_of_text",
    "corpora.<name>.sequence_length_tokens": "sequence_length_tokens",
    "source.revision": "revision",
    "source.path": "model",
    "source.tied_head": "tied_head",
}
"""What a key of a study that a step's error names is called here."""


def run_step(run: Callable[..., None], settings: BaseModel, **files: Path | None) -> None:
    """Run a step in this process, with the provenance that its job would write.

    Args:
        run: of the step's module.
        settings: of the step.
        files: its other keywords.

    Raises:
        UserError: what the step refuses, in words of the call.
    """
    step = run.__module__.rpartition(".")[2]
    with provenance.recording(step, settings.model_dump(mode="json"), inputs_of(files)):
        run(**files, settings=settings)


def checked(kind: Any, values: Any, *, where: str = "") -> Any:
    """Return values as settings of a kind.

    Raises:
        UserError: with the first of them that the settings refuse.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(filter(None, [where, *map(str, first["loc"])]))
        raise UserError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from error


@contextmanager
def in_words_of_the_call() -> Iterator[None]:
    """Have errors of steps name keywords of the call in place of a study's keys."""
    try:
        yield
    except UserError as error:
        message = str(error)
        for key, keyword in KEYWORDS.items():
            message = message.replace(key, keyword)
        raise UserError(message) from error
