"""How the learning rate goes over the steps of a training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ke_steps.settings.types import Fraction, OpenFraction, Strict

Schedule = Literal["cosine", "constant", "warmup_stable_decay"]
DECAY_FRACTION = 0.2
"""The share of a training in which the rate falls where ``decay_fraction`` names none."""


class Scheduled(Strict):
    """The learning rate's course, the same keys for pretraining and for learning."""

    schedule: Schedule = Field(
        "cosine",
        description="after the warm-up: cosine falls to the end; constant never falls, whatever"
        " min_learning_rate_ratio; warmup_stable_decay stays, then falls on a straight line",
    )
    warmup_fraction: Fraction = 0.05
    min_learning_rate_ratio: Fraction = 0.1
    decay_fraction: Annotated[
        OpenFraction | None,
        Field(
            description="of num_steps, at their end, in which the rate of warmup_stable_decay"
            f" falls; null: {DECAY_FRACTION}"
        ),
    ] = None

    @model_validator(mode="after")
    def _decay_has_a_meaning(self) -> Scheduled:
        if self.schedule != "warmup_stable_decay":
            if self.decay_fraction is not None:
                raise ValueError(
                    f"decay_fraction {self.decay_fraction} has no meaning for schedule"
                    f" {self.schedule}: remove it, or set schedule: warmup_stable_decay"
                )
            return self
        falling = self.decay_fraction or DECAY_FRACTION
        if self.warmup_fraction + falling > 1:
            raise ValueError(
                f"warmup_fraction {self.warmup_fraction} and decay_fraction {falling} are more than"
                " the whole of num_steps: lower one"
            )
        return self
