"""The claims and their rules, and summaries in which one quantity runs otherwise."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pandas as pd

from ke_steps.artefacts.summary_schemas import CORRELATIONS
from ke_steps.claims.entropy import (
    entropy_falls,
    entropy_falls_by_every_measure,
    entropy_falls_on_every_corpus,
    every_layer_falls,
    last_layer_falls_most,
)
from ke_steps.claims.findings import Measured
from ke_steps.claims.learning import (
    acquisition_falls,
    active_memories_change_most,
    forgetting_rises,
    late_stages_concentrate_updates,
    mid_stage_ends_best,
    once_knowledge_is_lost,
)
from ke_steps.claims.resuscitation import (
    resuscitation_beats_temperature,
    resuscitation_improves_acquisition,
    resuscitation_lowers_forgetting,
    resuscitation_raises_entropy,
)
from ke_steps.summary.correlations import correlations
from ke_steps.summary.quantities import ACTIVITIES, ENTROPY, OUTCOMES
from tests.invented.study import SETTINGS

PAIRED = {"acquisition_falls_with_entropy", "forgetting_rises_as_entropy_falls"}
"""Claims that correlations decide."""

DECIDERS = {
    **dict.fromkeys(
        (f"{name}_entropy_falls" for name in ACTIVITIES), entropy_falls_by_every_measure
    ),
    "entropy_falls": entropy_falls,
    "entropy_falls_on_c4": entropy_falls_on_every_corpus,
    "every_layer_falls": every_layer_falls,
    "last_layer_falls_most": last_layer_falls_most,
    "acquisition_falls_with_entropy": acquisition_falls,
    "forgetting_rises_as_entropy_falls": forgetting_rises,
    "performance_after_best_at_mid_stage": mid_stage_ends_best,
    "accuracy_after_best_at_mid_stage": mid_stage_ends_best,
    "once_knowledge_is_lost": once_knowledge_is_lost,
    "active_memories_change_most": active_memories_change_most,
    "late_stages_concentrate_updates": late_stages_concentrate_updates,
    "resuscitation_raises_entropy": resuscitation_raises_entropy,
    "resuscitation_improves_acquisition": resuscitation_improves_acquisition,
    "resuscitation_lowers_forgetting": resuscitation_lowers_forgetting,
    "resuscitation_improves_acquisition_more_than_temperature": resuscitation_beats_temperature,
    "resuscitation_lowers_forgetting_more_than_temperature": resuscitation_beats_temperature,
}
"""The rule that decides each claim."""


def claims_of(room_file: ModuleType) -> list[str]:
    """Return the claims that the rules of one file of ``ke_steps/claims`` decide."""
    return [claim for claim, rule in DECIDERS.items() if rule.__module__ == room_file.__name__]


def judge(summary: pd.DataFrame, *claims: str) -> dict[str, str]:
    """Return the verdicts of claims, each by its own rule alone: all of them take a second."""
    needed = [m.quantity for m in (ENTROPY, *OUTCOMES)] if set(claims) & PAIRED else []
    measured = summary[summary["quantity"].isin(needed)]
    pairs = pd.DataFrame(correlations(measured, SETTINGS), columns=CORRELATIONS.names)
    found = Measured.of("nursery", summary, pairs, SETTINGS)
    return {
        finding.claim: finding.verdict
        for decide in dict.fromkeys(DECIDERS[claim] for claim in claims)
        for finding in decide(found)
        if finding.claim in claims
    }


def changed(
    summary: pd.DataFrame,
    quantity: str,
    group: str,
    value: Callable[[int, float], float],
    variant: str = "original",
) -> pd.DataFrame:
    """Return a summary in which a quantity is ``value(step, old)``; intervals keep their width."""
    table = summary.copy()
    rows = (
        (table["quantity"] == quantity) & (table["group"] == group) & (table["variant"] == variant)
    )
    steps, old = table.loc[rows, "step"], table.loc[rows, "value"]
    new = [value(step, was) for step, was in zip(steps, old, strict=True)]
    shift = np.array(new) - old.to_numpy()
    for column in ("value", "low", "high"):
        table.loc[rows, column] += shift
    return table
