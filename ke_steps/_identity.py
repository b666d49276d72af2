"""What a result belongs to, read from its path: the wildcards of the workflow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ke_steps._errors import UserError
from ke_steps.settings import ORIGINAL

_STEP = re.compile(r"step(\d+)")
_SEED = re.compile(r"seed(\d+)")


class Identity(NamedTuple):
    """The wildcards of one result; recipe and seed are None for what exists before learning."""

    model: str
    step: int
    variant: str
    recipe: str | None
    seed: int | None


def identify(path: Path) -> Identity:
    """Read the identity of a result from the last folders of its path.

    Runs live at ``…/{model}/step{step}/{variant}/{recipe}/seed{seed}/<file>``, what exists before
    learning at ``…/{model}/step{step}/{variant}/<file>``, and checkpoints, which are the original
    variant, at ``…/{model}/step{step}/manifest.json``.
    """
    folders = ("",) * 5 + path.parts[:-1]
    seed, step = _SEED.fullmatch(folders[-1]), _STEP.fullmatch(folders[-4])
    if seed and step:
        model, _, variant, recipe, _ = folders[-5:]
        return Identity(model, int(step[1]), variant, recipe, int(seed[1]))
    if path.name == "manifest.json" and (step := _STEP.fullmatch(folders[-1])):
        return Identity(folders[-2], int(step[1]), ORIGINAL, None, None)
    if step := _STEP.fullmatch(folders[-2]):
        return Identity(folders[-3], int(step[1]), folders[-1], None, None)
    raise UserError(
        f"{path}: no model and step in this path; expected …/{{model}}/step{{step}}/{{variant}}/"
        "[{recipe}/seed{seed}/]<file>"
    )
