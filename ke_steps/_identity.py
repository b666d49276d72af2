"""What a result belongs to, read from its path: the wildcards of the workflow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ke_steps._errors import UserError
from ke_steps.settings import ORIGINAL

_STEP = re.compile(r"step(\d+)")
_SEED = re.compile(r"seed(\d+)")
_SHARD = re.compile(r"shard(\d+)")


class Identity(NamedTuple):
    """The wildcards of one result; recipe and seed are None for what exists before learning."""

    model: str
    step: int
    variant: str
    recipe: str | None
    seed: int | None


def identify(path: Path) -> Identity:
    """Read the identity of a result from the last folders of its path.

    Runs live at ``…/{model}/step{step}/{variant}/{recipe}/seed{seed}/<file>``; what exists before
    learning at ``…/{model}/step{step}/{variant}/<file>``, or, when it was measured on a corpus, at
    ``…/{model}/step{step}/{variant}/{corpus}/[shard{shard}/]<file>``; and what concerns a
    checkpoint as it is, the original variant, at ``…/{model}/step{step}/<file>``.
    """
    folders = _folders(path)
    seed, step = _SEED.fullmatch(folders[-1]), _STEP.fullmatch(folders[-4])
    if seed and step:
        model, _, variant, recipe, _ = folders[-5:]
        return Identity(model, int(step[1]), variant, recipe, int(seed[1]))
    for depth in (1, 2, 3):
        if step := _STEP.fullmatch(folders[-depth]):
            variant = ORIGINAL if depth == 1 else folders[1 - depth]
            return Identity(folders[-depth - 1], int(step[1]), variant, None, None)
    raise UserError(
        f"{path}: no model and step in this path; expected …/{{model}}/step{{step}}/"
        "[{variant}/[{corpus}/ or {recipe}/seed{seed}/]]<file>"
    )


def corpus_of(path: Path) -> str:
    """Return the corpus of a result at ``…/step{step}/{variant}/{corpus}/[shard{shard}/]<file>``.

    Raises:
        UserError: the path names no corpus.
    """
    folders = _folders(path)
    if not _STEP.fullmatch(folders[-3]):
        raise UserError(
            f"{path}: no corpus in this path;"
            " expected …/{model}/step{step}/{variant}/{corpus}/<file>"
        )
    return folders[-1]


def shard_of(path: Path) -> int | None:
    """Return the shard of a result at ``…/step{step}/{variant}/{corpus}/shard{shard}/<file>``."""
    *_, step, _, _, last = ("",) * 4 + path.parts[:-1]
    shard = _SHARD.fullmatch(last)
    return int(shard[1]) if shard and _STEP.fullmatch(step) else None


def _folders(path: Path) -> tuple[str, ...]:
    """Return the folders of a path, after some without a name, that of its shard left out."""
    folders = ("",) * 5 + path.parts[:-1]
    return folders if shard_of(path) is None else folders[:-1]
