"""What a study comes to, as data: ``summary.json``, of which all short forms are made.

There it has one key more, ``terminal``: lines for the end of ``make report``.

Numbers are unrounded, fractions not in percent; null is what is not known.
"""

from __future__ import annotations

from pydantic import BaseModel

Counts = dict[str, int]
"""How often each verdict was given; none that was never."""


class Point(BaseModel):
    """A measure at one stage."""

    step: int
    value: float | None
    low: float | None
    high: float | None
    num_items: int | None
    """Of passages, items or other units that were sampled."""
    num_seeds: int | None
    """Of learning; of a mean over models: their number."""


class KeyRow(BaseModel):
    """One measure over the stages."""

    label: str
    quantity: str
    group: str
    unit: str
    sampled: str
    """What ``num_items`` counts; empty where nothing was sampled."""
    points: list[Point]
    """One for each step of the table."""


class KeyTable(BaseModel):
    """The main numbers of a model, or the mean over the models of a family."""

    name: str
    models: list[str]
    num_others: int
    """Models of the study that it leaves out."""
    recipe: str | None
    steps: list[int]
    bound_nats: float | None
    """The largest H that is possible."""
    rows: list[KeyRow]


class Judged(BaseModel):
    """A row of the claims that a finding rests on."""

    claim: str
    model: str
    recipe: str | None
    variant: str | None
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    num_points: int


class Part(BaseModel):
    """What of a finding was judged; ``words`` is empty where that is all of it."""

    words: str
    counts: Counts


class Headline(BaseModel):
    """A finding in a sentence."""

    sentence: str
    parts: list[Part]
    judged: list[Judged]


class Scope(BaseModel):
    """What the numbers rest on."""

    models: list[str]
    num_stages: dict[str, int]
    """Of each model."""
    num_variants: int
    num_recipes: int
    num_seeds: int
    num_runs: int
    num_diverged: int


class Caution(BaseModel):
    """A warning, and the models that it is told of."""

    subject: str
    models: str
    warning: str


class Overview(BaseModel):
    """A study on a page."""

    title: str
    description: str
    confidence: float
    findings: list[Headline]
    scope: Scope
    key_table: KeyTable
    verdicts: dict[str, Counts]
    """By whose claim it is."""
    num_corrected: int
    """Of the verdicts, for their number."""
    warnings: list[Caution]
