"""The claims of the paper and beyond it, each with its rule, evidence and verdict.

No verdict is written down anywhere: each follows from estimates, signed so that a positive value
is what is claimed. A few were chosen to be primary before any study was run; the others, which are
many, are corrected for their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ke_steps.claims.between_runs import findings_between_runs
from ke_steps.claims.branches import branch_costs_old_knowledge
from ke_steps.claims.causes import causes, causes_between_runs
from ke_steps.claims.contests import Contested, findings_of_contests
from ke_steps.claims.doses import doses_change_learning
from ke_steps.claims.entropy import (
    entropy_falls,
    entropy_falls_by_every_measure,
    entropy_falls_on_every_corpus,
    every_layer_falls,
    last_layer_falls_most,
)
from ke_steps.claims.entropy_alone import entropy_alone, entropy_alone_between_runs
from ke_steps.claims.findings import DECIDED, INCONCLUSIVE, Finding
from ke_steps.claims.learning import (
    goes_with_entropy,
    later_stages_learn_less,
    mid_stage_ends_best,
    once_knowledge_is_lost,
)
from ke_steps.claims.learning_rates import learning_rates
from ke_steps.claims.measured import Measured
from ke_steps.claims.predictions import predictions
from ke_steps.claims.regressions import Regression
from ke_steps.claims.resuscitation import (
    resuscitation_beats_temperature,
    resuscitation_gains_downstream,
    resuscitation_improves_acquisition,
    resuscitation_lowers_forgetting,
    resuscitation_raises_entropy,
)
from ke_steps.claims.updates import active_memories_change_most, late_stages_concentrate_updates
from ke_steps.formulas.uncertainty import holm
from ke_steps.summary.quantities import show_p

CLAIMS: tuple[Callable[[Measured], Iterator[Finding]], ...] = (
    entropy_falls,
    every_layer_falls,
    last_layer_falls_most,
    entropy_falls_by_every_measure,
    entropy_falls_on_every_corpus,
    later_stages_learn_less,
    goes_with_entropy,
    mid_stage_ends_best,
    once_knowledge_is_lost,
    active_memories_change_most,
    late_stages_concentrate_updates,
    resuscitation_raises_entropy,
    resuscitation_improves_acquisition,
    resuscitation_lowers_forgetting,
    resuscitation_gains_downstream,
    resuscitation_beats_temperature,
    learning_rates,
    causes,
    entropy_alone,
    branch_costs_old_knowledge,
    doses_change_learning,
)

PRIMARY = frozenset(
    {
        "entropy_falls",
        "knowledge_after_falls",
        "forgetting_rises",
        "resuscitation_improves_acquisition",
        "resuscitation_lowers_forgetting",
    }
)
"""With the first recipe and the first variant of a model; their p-values are not corrected."""


def claims(
    models: Sequence[Measured],
    between_runs: Sequence[Regression],
    contested: Sequence[Contested] = (),
) -> list[dict[str, Any]]:
    """Return the rows of CLAIMS: every claim for every model, and its recipes and variants.

    Before them the study's predictions, corrected among themselves; after them the claims between
    runs, which are of several models.
    """
    findings = [
        (measured.model, finding, _is_primary(measured, finding))
        for measured in models
        for decide in CLAIMS
        for finding in decide(measured)
    ]
    findings += [(*found, False) for found in causes_between_runs(models)]
    findings += [(*found, False) for found in entropy_alone_between_runs(models)]
    findings += [(*found, False) for found in findings_between_runs(models, between_runs)]
    findings += [(*found, False) for found in findings_of_contests(models, contested)]
    primary = np.array([is_primary for *_, is_primary in findings], dtype=bool)
    p_values = np.array([finding.p_value for _, finding, _ in findings], dtype=np.float64)
    adjusted = holm(np.where(primary, np.nan, p_values))
    words = f"{int((~np.isnan(p_values) & ~primary).sum())} secondary judgements"
    return _predicted(models) + [
        _row(name, _corrected(models[0], finding, p_value, words), is_primary, p_value)
        for (name, finding, is_primary), p_value in zip(findings, adjusted, strict=True)
    ]


def _predicted(models: Sequence[Measured]) -> list[dict[str, Any]]:
    found = predictions(models)
    adjusted = holm(np.array([finding.p_value for _, finding in found], dtype=np.float64))
    words = f"{np.isfinite(adjusted).sum()} predictions"
    return [
        _row(families, _corrected(models[0], finding, p_value, words), None, p_value)
        for (families, finding), p_value in zip(found, adjusted, strict=True)
    ]


def _is_primary(measured: Measured, finding: Finding) -> bool:
    variants = measured.variants("resuscitate")
    return (
        finding.claim in PRIMARY
        and finding.recipe in (None, *measured.recipes()[:1])
        and finding.variant in (None, *variants[:1])
    )


def _corrected(measured: Measured, finding: Finding, adjusted: float, among: str) -> Finding:
    """Return a finding whose verdict holds after the correction, or that is inconclusive."""
    is_certain = np.isnan(adjusted) or adjusted < 1 - measured.settings.confidence
    if finding.verdict not in DECIDED or is_certain:
        return finding
    words = f" By itself {finding.verdict}; corrected for {among} (Holm), {show_p(adjusted)}."
    evidence = finding.evidence + words
    return finding._replace(verdict=INCONCLUSIVE, evidence=evidence, decided_by_step=None)


def _row(name: str, finding: Finding, is_primary: bool | None, adjusted: float) -> dict[str, Any]:
    fields = finding._asdict()
    estimate = fields.pop("estimate")
    return {
        "model": name,
        **fields,
        "is_primary": is_primary,
        "adjusted_p_value": adjusted,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
    }
