"""Find a checkpoint's branch or tag by its step, where names carry more than the step."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import Formatter

from ke_steps.job.errors import UserError

NUM_NEAREST = 3
COMMIT = re.compile(r"[0-9a-f]{40}")
PREFIXES = ("heads/", "tags/")
"""Before a name that a branch and a tag share: which of them is meant."""


@dataclass(frozen=True)
class Ref:
    """A branch or tag, and the commit (40 hex digits) it points to."""

    name: str
    commit: str


def choose_ref(refs: Sequence[Ref], revision: str, step: int, *, where: str) -> Ref:
    """Return the one ref that matches a pattern.

    Args:
        refs: branches and tags.
        revision: the pattern: ``{step}`` stands for the step (``{step:03d}`` with leading zeros),
            ``*`` for any text; a commit of 40 hex digits is taken as it is.
        step: training step.
        where: the repo, for the error.

    Raises:
        UserError: no ref matches, or several; the line has the nearest steps.
    """
    pattern = revision.format(step=step)
    if COMMIT.fullmatch(pattern):
        return Ref(pattern, pattern)
    expression = _expression(revision, lambda spec: format(step, spec))
    found = list({ref: None for ref in refs if expression.fullmatch(ref.name)})
    if len(found) == 1:
        return found[0]
    told = f"{where}: source.revision {revision!r}: "
    if not found:
        raise UserError(told + _explain_none([ref.name for ref in refs], revision, step))
    names = sorted({ref.name for ref in found})
    if len(names) == 1:
        either = " or ".join(f"'{prefix}{names[0]}'" for prefix in PREFIXES)
        raise UserError(
            f"{told}{names[0]!r} is a branch and a tag of different commits; say which: {either}"
        )
    listed = ", ".join(names[:NUM_NEAREST]) + (", …" if len(names) > NUM_NEAREST else "")
    raise UserError(
        f"{told}{pattern!r} matches {len(names)} branches and tags ({listed}); make it match one"
    )


def _expression(revision: str, number: Callable[[str], str]) -> re.Pattern[str]:
    """Return what a ref's name must match; ``number`` makes it of the step's format.

    A star takes no digit beside the step: ``step{step}*`` of step 10 is not ``step100``.
    """
    expression = ""
    for index, (text, field, spec, _) in enumerate(Formatter().parse(revision)):
        if index and text.startswith("*"):
            expression += "(?![0-9])"
        expression += re.escape(text).replace(r"\*", ".*")
        if field is not None:
            expression += "(?<![0-9])" if text.endswith("*") else ""
            expression += number(spec or "")
    return re.compile(expression)


def _explain_none(names: Sequence[str], revision: str, step: int) -> str:
    nearest = nearest_refs(names, revision, step)
    zeros = re.search(rf"(?<![0-9])0+{step}(?![0-9])", nearest[0]) if nearest else None
    hint = f"; a step with leading zeros is {{step:0{len(zeros[0])}d}}" if zeros else ""
    return (
        f"no branch or tag matches {revision.format(step=step)!r};"
        f" nearest: {', '.join(nearest) or 'none that has a number'}{hint}"
    )


def nearest_refs(names: Sequence[str], revision: str, step: int) -> list[str]:
    """Return the names whose step is nearest, ties by name.

    The step of a name is the number where the pattern has it; where no name is of that form, the
    number after the word ``step``; in names without that word any number counts.
    """
    expression = _expression(revision, lambda _: "([0-9]+)")
    steps: dict[str, Sequence[str]] = {
        name: match.groups() for name in names if (match := expression.fullmatch(name))
    }
    for number in (r"step[-_]?([0-9]+)", r"[0-9]+"):
        if not any(steps.values()):
            steps = {name: re.findall(number, name) for name in names}
    distances = {
        name: min(abs(int(number) - step) for number in numbers)
        for name, numbers in steps.items()
        if numbers
    }
    return sorted(distances, key=lambda name: (distances[name], name))[:NUM_NEAREST]
