"""The steps of pretraining that a study looks at: a list, or so many at equal ratios."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ke_steps.settings.types import Count, Natural, Strict


class LogSpaced(Strict):
    """Steps at equal ratios, rounded to whole ones."""

    log_spaced: tuple[Count, Count, Count] = Field(
        description="first, last and number of the steps; the first and the last are among them"
    )


def log_spaced(first: int, last: int, count: int) -> list[int]:
    """Return ``count`` whole numbers from ``first`` to ``last``, in ascending order.

    Raises:
        ValueError: there are no such numbers, or rounding makes two of them one.
    """
    said = f"log_spaced: [{first}, {last}, {count}]"
    if not (1 <= first < last and count >= 2):
        raise ValueError(f"{said}: needs 1 ≤ first < last, and a count of 2 or more")
    ratio = last / first
    steps = [round(first * ratio ** (place / (count - 1))) for place in range(count)]
    if twice := [step for step, after in pairwise(steps) if step == after]:
        raise ValueError(
            f"{said}: rounded to whole steps, two of them are {twice[0]}; lower the count, or begin"
            " later"
        )
    return steps


def _spelled_out(steps: Any) -> Any:
    match steps:
        case {"log_spaced": [first, last, count], **others} if not others:
            if all(type(number) is int for number in (first, last, count)):
                return log_spaced(first, last, count)
        case list():
            return steps
    raise ValueError(
        f"got {steps!r}; should be a list of steps, or {{log_spaced: [first, last, count]}} in"
        " whole numbers"
    )


Steps = Annotated[
    list[Natural],
    Field(min_length=1),
    BeforeValidator(_spelled_out, json_schema_input_type=list[Natural] | LogSpaced),
]
