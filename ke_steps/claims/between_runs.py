"""Claims about what goes with entropy between runs of pretraining, at the same stages.

Within one run everything shares its clock, so that nothing is decided of it. Between runs of one
family, at one stage, clock and settings are the same. What then goes with entropy goes with it: no
run's entropy was set, so that no verdict here says what moves what.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ke_steps.claims.findings import (
    BEYOND,
    INCONCLUSIVE,
    NOT_SUPPORTED,
    NOT_TESTED,
    SUPPORTED,
    Decision,
    Finding,
)
from ke_steps.claims.measured import Measured
from ke_steps.claims.regressions import Claim, Fit, Regression
from ke_steps.settings.telling import MIN_RUNS_OF_PRETRAINING
from ke_steps.summary.quantities import difference_unit, show, show_p


def findings_between_runs(
    models: Sequence[Measured], found: Sequence[Regression]
) -> Iterator[tuple[str, Finding]]:
    """Yield what each regression is about, and its finding.

    It is about families; where none can be compared, about all models.
    """
    for each in found:
        names = dict.fromkeys(each.runs.families) or [measured.model for measured in models]
        decision = _decide(each, 1 - models[0].settings.confidence)
        finding = Finding(
            each.claim.name,
            each.claim.statement,
            BEYOND,
            _rule(each.claim, models[0].settings.confidence),
            " ".join(_evidence(each, models[0])),
            decision.verdict,
            decision.p_value,
            len(each.runs.models),
            difference_unit(each.claim.outcome.unit),
            each.judged.slope,
            each.recipe,
        )
        yield ", ".join(names), finding


def _decide(found: Regression, level: float) -> Decision:
    fit = found.judged
    if math.isnan(fit.p_value):
        return Decision(NOT_TESTED, math.nan)
    claimed = fit.slope if found.claim.sign > 0 else -fit.slope
    if fit.p_value < level and claimed.low > 0:
        return Decision(SUPPORTED, fit.p_value)
    is_against = fit.p_value < level and claimed.high < 0
    return Decision(NOT_SUPPORTED if is_against else INCONCLUSIVE, fit.p_value)


def _evidence(found: Regression, measured: Measured) -> Iterator[str]:
    """Yield sentences."""
    runs = found.runs
    num_runs, num_stages = len(runs.models), len(runs.steps)
    if num_runs < MIN_RUNS_OF_PRETRAINING:
        yield f"{num_runs} runs can be compared; at least {MIN_RUNS_OF_PRETRAINING} are needed."
    elif not num_stages:
        label = found.claim.outcome.label
        yield f"{num_runs} runs share no stage at which H and {label} are known."
    else:
        num_families = len(set(runs.families))
        stages = f"{num_stages} stage{'s' * (num_stages > 1)} that all have"
        yield (
            f"{num_runs} runs of {num_families} famil{'ies' if num_families > 1 else 'y'} at"
            f" {stages}, step {', '.join(f'{step:,}' for step in runs.steps)}."
        )
        yield from _slopes(found, measured)
    for words, models in (
        ("as all its runs of learning at a stage diverged", runs.diverged),
        ("as no other run of its family is there to compare it with", runs.alone),
    ):
        if models:
            yield f"Left out, {words}: {', '.join(models)}."


def _slopes(found: Regression, measured: Measured) -> Iterator[str]:
    unit = difference_unit(found.claim.outcome.unit)

    def told(fit: Fit) -> str:
        if math.isnan(fit.p_value):
            return "not defined, as H or the outcome differs in nothing beside the rest"
        return f"{measured.spread(fit.slope, unit)} per nat of H, {show_p(fit.p_value)}"

    judged, without = found.judged, found.without_loss
    if found.has_loss:
        yield f"At the same held-out loss β is {told(judged)}; without loss {told(without)}."
        if judged.slope.value * without.slope.value < 0:
            yield "The two differ in sign."
    else:
        yield f"β is {told(judged)}, without held-out loss, which not all runs have there."
    if not math.isnan(found.between_families):
        yield (
            f"Not judged: with all families as one it is {show(found.between_families, unit)}, as"
            " what their settings do to both then counts."
        )


def _rule(claim: Claim, confidence: float) -> str:
    side, other = ("above", "below") if claim.sign > 0 else ("below", "above")
    return (
        f"{claim.outcome.label}, mean over seeds of learning, is taken for an effect of the family"
        " at each stage, β times H, γ times held-out loss before learning (where all runs have it),"
        " and a random effect of the run. Supported if the interval of β, by a bootstrap of whole"
        f" runs, lies {side} zero, and p, by permuting the courses of whole runs within families,"
        f" is below {1 - confidence:.2g}; not supported if {other} likewise. At least"
        f" {MIN_RUNS_OF_PRETRAINING} runs that are not alone in their family, at the stages that"
        " all of them have. Entropy was not set: what goes with it need not follow from it."
    )
