"""The paper's claims (FACTS sections 1, 4 and 5), each with its rule, evidence and verdict.

No verdict is written down anywhere: each follows from estimates, signed so that a positive value
is what the paper claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from ke_steps.claims.entropy import (
    entropy_falls,
    entropy_falls_by_every_measure,
    entropy_falls_on_every_corpus,
    every_layer_falls,
    last_layer_falls_most,
)
from ke_steps.claims.findings import Finding, Measured
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
from ke_steps.settings.telling import SummarizeJob

CLAIMS: tuple[Callable[[Measured], Iterator[Finding]], ...] = (
    entropy_falls,
    every_layer_falls,
    last_layer_falls_most,
    entropy_falls_by_every_measure,
    entropy_falls_on_every_corpus,
    acquisition_falls,
    forgetting_rises,
    mid_stage_ends_best,
    once_knowledge_is_lost,
    active_memories_change_most,
    late_stages_concentrate_updates,
    resuscitation_raises_entropy,
    resuscitation_improves_acquisition,
    resuscitation_lowers_forgetting,
    resuscitation_beats_temperature,
)


def claims(
    summary: pd.DataFrame, correlations: pd.DataFrame, settings: SummarizeJob
) -> list[dict[str, Any]]:
    """Return the rows of CLAIMS: every claim for every model, and its recipes and variants."""
    rows = []
    for model in summary["model"].unique():
        measured = Measured.of(model, summary, correlations, settings)
        for decide in CLAIMS:
            for finding in decide(measured):
                fields = finding._asdict()
                estimate = fields.pop("estimate")
                rows.append({"model": model, **fields, **estimate._asdict()})
    return rows
