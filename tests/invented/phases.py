"""Made-up runs of pretraining whose phases, and the changes in them, are known."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ke_steps.artefacts.summary_schemas import PHASES
from ke_steps.claims.measured import Measured
from ke_steps.claims.phases import phase_rows
from ke_steps.figures.panels import Tables
from ke_steps.summary.families import families_of
from ke_steps.summary.quantities import CONTRIBUTION_ENTROPY, DORMANT, WHOLE_MODEL, Measure
from tests.invented.claims import Invented, answers, passages

STEPS = (16, 50, 150, 500, 1500, 6000)
RECALL = dict(zip(STEPS, (0.25, 0.26, 0.5, 0.96, 0.98, 1.0), strict=True))
"""On the plateau up to step 50, saturated from step 500 on."""
CHANCE = 0.25
BOUND = 2 * math.log(256)
NUM_GROUPS = 16


class Course(NamedTuple):
    """What is known of one run by step; ``learned`` has K and P after learning."""

    recall: Mapping[int, float] = RECALL
    entropy: Mapping[int, float] = dict.fromkeys(STEPS, 10.0)
    contribution: Mapping[int, float] = dict.fromkeys(STEPS, 9.0)
    learned: Mapping[int, tuple[float, float]] = {}


def moved(start: float, before: float, after: float, noise: float = 0.0) -> dict[int, float]:
    """Return a course that changes by ``before`` up to saturation, and by ``after`` from there."""
    at_saturation = start + before
    course = (start + 0.3, start, start + before / 2, at_saturation, at_saturation + after / 2)
    return dict(zip(STEPS, (*course, at_saturation + after + noise), strict=True))


def pretrained(model: str, course: Course, **settings: Any) -> Measured:
    """Return what is measured on a run, and on every text, passage and item that all runs share."""
    shared = np.random.default_rng(1)
    of_text, of_passages = 0.02 * shared.normal(size=NUM_GROUPS), passages(shared, 0.0)
    own = np.random.default_rng(zlib.crc32(model.encode()))
    found = Invented(model=model, **settings)
    for step, recall in course.recall.items():
        found.accuracy(step, answers(recall), CHANCE)
        for measure, values in (
            (Measure("entropy_nats", WHOLE_MODEL), course.entropy),
            (CONTRIBUTION_ENTROPY, course.contribution),
        ):
            if step in values:
                noise = 0.002 * own.normal(size=NUM_GROUPS)
                groups = values[step] + of_text + noise - noise.mean() - of_text.mean()
                layers = {f"layer {layer}": groups / 2 for layer in range(2)}
                found.entropies(step, {WHOLE_MODEL: groups, **layers}, measure=measure)
                name = measure.quantity.replace("entropy_nats", "normalized_entropy")
                normalised = Measure(name, WHOLE_MODEL)
                found.entropies(step, {WHOLE_MODEL: groups / BOUND}, measure=normalised)
        found.value(DORMANT, 0.2 * (step > 500), step)
    for step, (knowledge, accuracy) in course.learned.items():
        before = of_passages - of_passages.mean() - 10
        noise = 0.02 * own.normal(size=len(before))
        after = of_passages - of_passages.mean() + knowledge + noise - noise.mean()
        found.run(step, 0, (before, after), answers(accuracy))
    return found.measured()


def nursery(decay: float, ratio: int, corpus: str, seed: int) -> dict[str, Any]:
    """Return the settings of a nursery, as far as runs of a grid differ in them."""
    sizes = {"hidden_size": 64, "intermediate_size": 64 * ratio}
    return {**sizes, "weight_decay": decay, "corpus": corpus, "seed": seed, "kind": "nursery"}


class Arm(NamedTuple):
    """What all runs of a family have in common."""

    corpus: str
    decay: float
    ratio: int

    @property
    def family(self) -> str:
        """How the grid calls it."""
        return f"{self.corpus}_decay{self.decay:g}_md{self.ratio}"


ARMS = [Arm(c, d, r) for c in ("uniform", "zipf") for d in (0.1, 1.0) for r in (4, 16)]
SEEDS = (3, 4, 5)


def grid(
    predictions: list[dict[str, Any]],
    *,
    fall_by_decay: float = 0.5,
    fall_by_ratio: float = 0.0,
    changed: Mapping[str, Course] | None = None,
    **settings: Any,
) -> list[Measured]:
    """Return three runs of each family predicted; H falls by 0.2 after saturation, more with decay.

    With uniform data it rises by 0.4 before. A seed moves the fall alike in every arm.

    Args:
        predictions: that the study makes.
        fall_by_decay: how much more H falls with the larger decay, in nats.
        fall_by_ratio: how much more with the larger m/d.
        changed: other courses by model.
        settings: of ``summarize``.
    """
    asked = {family for each in predictions for family in each["families"]}
    arms = [arm for arm in ARMS if arm.family in asked]
    names = {f"{arm.family}_s{seed}": (arm, seed) for arm in arms for seed in SEEDS}
    told = {
        "families": {name: arm.family for name, (arm, _) in names.items()},
        "nurseries": {
            name: nursery(arm.decay, arm.ratio, arm.corpus, seed)
            for name, (arm, seed) in names.items()
        },
        "predictions": predictions,
        **settings,
    }
    runs = []
    for name, (arm, seed) in names.items():
        own = np.random.default_rng(zlib.crc32(name.encode()))
        rise = 0.4 if arm.corpus == "uniform" else 0.0
        fall = 0.2 + fall_by_decay * (arm.decay == 1.0) + fall_by_ratio * (arm.ratio == 16)
        after = -fall + 0.05 * (seed - 4) + 0.005 * own.normal()
        learned = {500: (-6.0, 0.9), 6000: (-6.4 - 0.02 * own.normal(), 0.6)}
        course = Course(RECALL, moved(10.0, rise, after), moved(9.5, rise, after), learned)
        runs.append(pretrained(name, (changed or {}).get(name, course), **told))
    return runs


def tables_of(runs: Sequence[Measured]) -> Tables:
    """Return the tables of runs as figures get them: what is told of phases, and nothing else."""
    settings = runs[0].settings
    estimates = pd.concat([run.estimates for run in runs], ignore_index=True)
    phases = [row for run in runs for row in phase_rows(run)]
    nothing = pd.DataFrame()
    return Tables(
        summary=pd.concat([run.summary for run in runs], ignore_index=True),
        estimates=estimates,
        families=families_of(estimates, settings.families, settings),
        phases=pd.DataFrame(phases, columns=PHASES.names),
        frontiers=nothing,
        effects=nothing,
        correlations=nothing,
        between_runs=nothing,
        curves=nothing,
        diverged_curves=nothing,
        distributions=nothing,
        rankings=nothing,
        novelty=nothing,
        retained=nothing,
        confidence=settings.confidence,
        main_corpora=settings.main_corpora,
        variants={},
        recipes=["baseline"],
    )
