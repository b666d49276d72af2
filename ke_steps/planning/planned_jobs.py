"""A job of a study as it is planned: its rule and place, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ke_steps.settings.types import Precision


class Work(NamedTuple):
    """A kind of arithmetic: with the precision it decides how fast a GPU does it."""

    kind: Literal["training", "forward"]
    precision: Precision


SCORING = Work("forward", "fp32")
"""Rivals and the projection of memories."""


@dataclass(frozen=True)
class PlannedJob:
    """One job of a study, and what it takes.

    ``place`` is its folder below that of its rule, empty where the rule has one job; ``num_cores``
    the threads that it asks for, ``passing_bytes`` what it has on the disk beside what stays.
    """

    rule: str
    place: str = ""
    num_cores: int = 1
    training_tokens: int = 0
    flops: Mapping[Work, float] = field(default_factory=dict)
    download_bytes: float = 0
    disk_bytes: float = 0
    passing_bytes: float = 0
