"""Find a checkpoint's branch or tag by its step, where names carry more than the step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ke_steps.job.errors import UserError

NUM_NEAREST = 3
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Ref:
    """A branch or tag, and the commit (40 hex digits) it points to."""

    name: str
    commit: str


def choose_ref(refs: Sequence[Ref], revision: str, step: int, *, where: str) -> Ref:
    """Return the one ref that matches a pattern.

    Args:
        refs: branches and tags.
        revision: the pattern: ``{step}`` stands for the step, ``*`` for any text; a commit of 40
            hex digits is taken as it is.
        step: training step.
        where: the repo, for the error.

    Raises:
        UserError: no ref matches, or several; the line has the nearest steps.
    """
    pattern = revision.replace("{step}", str(step))
    if COMMIT.fullmatch(pattern):
        return Ref(pattern, pattern)
    # of fnmatch's wildcards a ref's name, and so a sensible pattern, can only have the star
    matching = sorted({ref.name for ref in refs if fnmatchcase(ref.name, pattern)})
    found = [ref for ref in refs if ref.name in matching]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(ref.name for ref in found[:NUM_NEAREST])
        more = ", …" if len(found) > NUM_NEAREST else ""
        raise UserError(
            f"{where}: source.revision {revision!r}: {pattern!r} matches {len(found)} branches and"
            f" tags ({names}{more}); make it match one"
        )
    nearest = ", ".join(nearest_refs([ref.name for ref in refs], step)) or "none that has a number"
    raise UserError(
        f"{where}: source.revision {revision!r}: no branch or tag matches {pattern!r};"
        f" nearest: {nearest}"
    )


def nearest_refs(names: Sequence[str], step: int) -> list[str]:
    """Return the names whose step is nearest, ties by name; of ``step10-tokens3B`` it is 10.

    In names without the word ``step`` any number counts.
    """
    steps = {name: re.findall(r"step[-_]?(\d+)", name) for name in names}
    if not any(steps.values()):
        steps = {name: re.findall(r"\d+", name) for name in names}
    distances = {
        name: min(abs(int(number) - step) for number in numbers)
        for name, numbers in steps.items()
        if numbers
    }
    return sorted(distances, key=lambda name: (distances[name], name))[:NUM_NEAREST]
