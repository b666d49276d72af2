"""The kinds of values that a config may hold, each with its bounds."""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _parse_scientific(value: Any) -> Any:
    """YAML 1.1 reads ``4e-4`` as text: accept it as the number it means."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _refuse_traversal(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError("must not contain '..'")
    if not path.strip("./"):
        raise ValueError(f"must be a folder of its own, such as results, got {path!r}")
    return path


def _refuse_unprintable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"must not hold line breaks or control characters, got {text!r}")
    return text


def step_formats(place: str) -> list[str]:
    """Return the format of every ``{step}`` in a place: ``03d`` of ``{step:03d}``.

    Raises:
        ValueError: braces hold something else, or are not closed.
    """
    fields = [field for field in Formatter().parse(place) if field[1] is not None]
    for _, name, spec, conversion in fields:
        if name != "step" or conversion or not STEP_FORMAT.fullmatch(spec or ""):
            raise ValueError("not the step")
    return [spec or "" for _, _, spec, _ in fields]


def _refuse_other_fields(place: str) -> str:
    try:
        step_formats(place)
    except ValueError as error:
        raise ValueError(
            "in braces stands the step alone: {step}, or {step:03d} with leading zeros; a brace of"
            f" the name itself is written twice; got {place!r}"
        ) from error
    return place


def _refuse_place(name: str) -> str:
    if re.fullmatch(r"(step|seed)\d+", name):
        raise ValueError("is how results name a step or a seed; choose another name")
    return name


MAX_NAME_CHARACTERS = 64
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
STEP_FORMAT = re.compile(r"(0[1-9]\d?)?d?")
"""As Python formats it; what would write commas, blanks or a fraction names no checkpoint."""

RESULTS_PATTERN = r"^[A-Za-z0-9_./][A-Za-z0-9_./-]*$"

Count = Annotated[int, Field(strict=True, ge=1)]
Natural = Annotated[int, Field(strict=True, ge=0)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
Positive = Annotated[float, BeforeValidator(_parse_scientific), Field(strict=True, gt=0)]
Number = Annotated[float, BeforeValidator(_parse_scientific), Field(strict=True)]
NonNegative = Annotated[float, BeforeValidator(_parse_scientific), Field(strict=True, ge=0)]
Fraction = Annotated[float, BeforeValidator(_parse_scientific), Field(strict=True, ge=0, le=1)]
OpenFraction = Annotated[float, BeforeValidator(_parse_scientific), Field(strict=True, gt=0, lt=1)]
Name = Annotated[
    str,
    Field(strict=True, pattern=NAME_PATTERN, max_length=MAX_NAME_CHARACTERS),
    AfterValidator(_refuse_place),
]
ResultsPath = Annotated[
    str, Field(strict=True, pattern=RESULTS_PATTERN), AfterValidator(_refuse_traversal)
]
Precision = Literal["fp32", "tf32", "bf16"]
BeginOfText = Literal["tokenizer", "always", "never"]
InputPath = Annotated[str, Field(strict=True, min_length=1), AfterValidator(_refuse_unprintable)]
StepPlace = Annotated[InputPath, AfterValidator(_refuse_other_fields)]
"""A path or a ref's name that the step is written into: ``place.format(step=step)``."""


class Strict(BaseModel):
    """Unknown keys, infinities and silent conversions are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
