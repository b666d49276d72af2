"""Runs of pretraining in families, in which what goes with entropy is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ke_steps.artefacts.summary_schemas import CORRELATIONS, RUNS, SUMMARY
from ke_steps.claims.contests import Contested, contests
from ke_steps.claims.measured import Measured
from ke_steps.claims.regressions import Regression, regressions
from ke_steps.settings.telling import SummarizeJob
from ke_steps.summary.estimates import estimates_of
from ke_steps.summary.points import mark_trained
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    BITS_BEFORE,
    ENTROPY,
    FORGETTING_ABOVE_CHANCE,
    HELD_OUT_LOSS,
    KNOWLEDGE_AFTER,
    PARTICIPATION_RATIO,
    QUANTITIES,
    SENSITIVITY,
    Measure,
)
from ke_steps.summary.replicates import Replicates

STEPS = (0, 100, 200, 300)
"""Step 0 is the untrained model."""
RECIPE = "baseline"


class Pretrained:
    """Families of runs whose K after moves by ``beta`` per nat of H and by -1 per bit of loss.

    P after moves with it, F above chance against it. All share a trend, those of a family their
    level. Each has two seeds of learning. The family "" is for runs without one.
    """

    def __init__(
        self,
        families: Mapping[str, int],
        *,
        beta: float,
        loss: float = 0.0,
        noise: float = 0.1,
        has_loss: bool = True,
        seed: int = 0,
    ) -> None:
        """Draw the runs; ``loss``: how much of H is loss."""
        self.families = {
            f"{family or 'loose'}_{number}": family
            for family, size in families.items()
            for number in range(size)
        }
        generator = np.random.default_rng(seed)
        self.rows: list[dict[str, Any]] = []
        self._diverged: list[tuple[str, int, int]] = []
        level = {family: generator.normal() for family in families}
        for model, family in self.families.items():
            of_run = generator.normal()
            for step in STEPS:
                bits = generator.normal() + 5 - step / 100
                entropy = 40 - step / 100 + of_run + generator.normal() + loss * bits
                known = beta * entropy - bits + 20 * level[family] - step / 50
                self.add(model, ENTROPY, step, entropy)
                if has_loss:
                    self.add(model, BITS_BEFORE, step, bits)
                for learning_seed in (0, 1):
                    moved = known + noise * generator.normal()
                    for measure, value in (
                        (KNOWLEDGE_AFTER, moved - 60),
                        (ACCURACY_AFTER, 0.5 + moved / 1000),
                        (FORGETTING_ABOVE_CHANCE, 0.5 - moved / 1000),
                    ):
                        self.add(model, measure, step, value, learning_seed)

    def add(
        self, model: str, measure: Measure, step: int, value: float, seed: int | None = None
    ) -> None:
        """Add a row of the summary: of learning where it has a seed."""
        named = {"model": model, "step": step, "variant": "original", "seed": seed}
        recipe = None if seed is None else RECIPE
        numbers = dict.fromkeys(("value", "low", "high"), value)
        self.rows.append({**named, "recipe": recipe, **measure._asdict(), **numbers})

    def drop(self, **where: Any) -> None:
        """Leave rows of the summary out, whose columns have these values."""
        self.rows = [row for row in self.rows if any(row[k] != v for k, v in where.items())]

    def measured(self) -> list[Measured]:
        """Return what was measured on each model."""
        settings = SummarizeJob.model_validate(
            {
                "num_bootstrap": 200,
                "main_corpora": dict.fromkeys(self.families, "pretraining"),
                "score": "per_token",
                "variants": {},
                "families": {name: family for name, family in self.families.items() if family},
                "untrained": list(self.families),
            }
        )
        summary = pd.DataFrame(self.rows).reindex(columns=SUMMARY.names).astype({"seed": "Int64"})
        summary = mark_trained(summary, settings.untrained)
        summary["unit"] = summary["quantity"].map(lambda name: QUANTITIES[name].unit)
        estimates = estimates_of(summary, settings)
        return [
            Measured.of(
                model,
                summary=summary,
                estimates=estimates,
                replicates=Replicates({}, settings.confidence),
                correlations=pd.DataFrame(columns=CORRELATIONS.names),
                settings=settings,
            )
            for model in self.families
        ]

    def diverge(self, model: str, step: int, seed: int) -> None:
        """Let a run of learning diverge: no mean has it."""
        self.drop(model=model, step=step, seed=seed)
        self._diverged.append((model, step, seed))

    def add_rivals(self) -> None:
        """Measure the rivals: the loss that K moves with, and two that are noise."""
        generator = np.random.default_rng(1)
        for row in [row for row in self.rows if row["quantity"] == BITS_BEFORE.quantity]:
            model, step = row["model"], row["step"]
            self.add(model, HELD_OUT_LOSS, step, row["value"] * math.log(2))
            self.add(model, Measure(SENSITIVITY, "model γ=0.1"), step, generator.gamma(2))
            self.add(model, Measure(SENSITIVITY, "model γ=0.2"), step, math.nan)
            self.add(model, PARTICIPATION_RATIO, step, generator.gamma(9))

    def contests(self) -> list[Contested]:
        """Return the contests of predictors."""
        return contests(self.measured(), self.runs())

    def regressions(self) -> list[Regression]:
        """Return the regressions."""
        return regressions(self.measured(), self.runs())

    def runs(self) -> pd.DataFrame:
        """Return RUNS of all learning."""
        kept = {(row["model"], row["step"], row["seed"]) for row in self.rows if row["recipe"]}
        runs = pd.DataFrame([*kept, *self._diverged], columns=["model", "step", "seed"])
        is_lost = [False] * len(kept) + [True] * len(self._diverged)
        runs = runs.assign(variant="original", recipe=RECIPE, diverged_at_step=pd.NA)
        runs.loc[is_lost, "diverged_at_step"] = 5
        return runs.reindex(columns=RUNS.names)
