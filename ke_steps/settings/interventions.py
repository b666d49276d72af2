"""Interventions on checkpoints: the variants of a study, and what the job of one receives."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ke_steps.settings.learning import Scope
from ke_steps.settings.types import Count, Natural, OpenFraction, Positive, Strict

Rows = Annotated[
    Literal["up", "key"],
    Field(
        description="up: rows of a gated layer's up projection, which scale its coefficients"
        " exactly; key: rows and biases of an ungated layer's keys, which does so only where the"
        " activation is positively homogeneous, as ReLU is"
    ),
]
Draws = Annotated[Count, Field(description="variants that it makes: <name>_draw0 and so on")]


class Multipliers(Strict):
    """Algorithm 1 of the paper: the multiplier s of every memory, above 1 where it is dormant."""

    quantile: OpenFraction = Field(description="p: memories at or below this quantile are woken")
    boost: Positive = Field(description="q: target activity as a multiple of the layer's mean")
    max_multiplier: Positive | None = Field(None, description="cap on a memory's multiplier")


class Resuscitate(Multipliers, Scope):
    """Algorithm 1: rows × s."""

    kind: Literal["resuscitate"]
    rows: Rows = "up"


class Gauge(Multipliers, Scope):
    """Rows × s and memory vectors × 1/s, or the inverse: the function stays, absolute H moves."""

    kind: Literal["gauge", "inverse_gauge"]
    rows: Rows = "up"


class Function(Multipliers, Scope):
    """Memory vectors × s: the function of Algorithm 1, without its change of coefficients."""

    kind: Literal["function"]


class Control(Multipliers, Scope):
    """The same multipliers where they do not belong."""

    of: Literal["resuscitate", "gauge", "inverse_gauge"] = Field(
        description="the kind that it is a control of, whose rows and vectors it changes"
    )
    rows: Rows = "up"


class Permuted(Control):
    """The multipliers of each layer on memories drawn at random."""

    kind: Literal["permuted"]
    num_draws: Draws = 5


class Top(Control):
    """The ranking upside down: the most active memory has the multiplier of the least active."""

    kind: Literal["top"]


class Noise(Control):
    """The same rows moved as far, each in a random direction."""

    kind: Literal["noise"]
    num_draws: Draws = 5


class TemperAttention(Scope):
    """Attention at another temperature in the forward pass: the paper's control."""

    kind: Literal["temper_attention"]
    temperature: Positive = Field(description="divides what the softmax is given; above 1 flattens")
    course: Literal["decaying", "constant"] = Field(
        "decaying",
        description="over learning: decaying goes to 1 on a straight line, reached at the last"
        " step, as the public code does by default; constant stays, also after learning",
    )


class RescaleQueries(Scope):
    """Attention at another temperature by its query weights, which changes how fast they learn."""

    kind: Literal["rescale_queries"]
    temperature: Positive = Field(description="divides the query weights; above 1 flattens")


PARTS = ("gauge", "function", "resuscitate")
"""The kinds that make a 2 × 2 with the original: resuscitation is the gauge after the function."""

Variant = Annotated[
    Resuscitate | Gauge | Function | Permuted | Top | Noise | TemperAttention | RescaleQueries,
    Field(discriminator="kind"),
]


GAUGES = ("gauge", "inverse_gauge")
"""Kinds that leave the function as it is."""


class Intervene(Strict):
    """What the job of ``intervene`` receives."""

    intervention: Variant
    draw: Natural = Field(0, description="of a kind that draws: its number, and its seed")
