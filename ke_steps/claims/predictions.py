"""What a study predicted, decided between its runs of pretraining.

Runs without saturation are in no mean, and named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ke_steps.claims.changes import (
    ENTROPIES,
    Changes,
    Claim,
    family_of,
    mean_over_runs,
    recipe_of,
)
from ke_steps.claims.findings import PREDICTION, Finding, Part, capital, decide
from ke_steps.claims.measured import Measured
from ke_steps.claims.phases import SATURATED, phases_of
from ke_steps.claims.stages import line_through
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate, combination
from ke_steps.settings.strata import strata_of
from ke_steps.settings.telling import CONTRAST, Prediction, PredictionClaim
from ke_steps.summary.points import by_layer
from ke_steps.summary.quantities import (
    ENTROPY,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    Measure,
    difference_unit,
    show,
)

CLAIMS: dict[PredictionClaim, Claim] = {
    "entropy_falls_after_saturation": Claim(
        "H falls after saturation, absolute and of contributions", ENTROPIES, -1
    ),
    CONTRAST: Claim("H falls more after saturation, absolute and of contributions", ENTROPIES, -1),
    "entropy_rises_before_saturation": Claim(
        "H rises from the plateau to saturation, absolute and of contributions",
        ENTROPIES,
        1,
        is_after=False,
    ),
    "knowledge_after_falls_after_saturation": Claim(
        "Less new knowledge is acquired after saturation: K after learning falls",
        (KNOWLEDGE_AFTER,),
        -1,
    ),
    "forgetting_rises_after_saturation": Claim(
        "More is forgotten after saturation: F above chance rises", (FORGETTING_ABOVE_CHANCE,), 1
    ),
}


def predictions(models: Sequence[Measured]) -> list[tuple[str, Finding]]:
    """Return the families and the finding of every prediction of a study, in its order."""
    told = models[0].settings.predictions if models else []
    phases = {run.model: phases_of(run) for run in models} if told else {}
    found = []
    for prediction in told:
        claim = CLAIMS[prediction.claim]
        runs = [run for run in models if family_of(run) in prediction.families]
        changes = [Changes.of(runs, phases, claim, measure) for measure in claim.measures]
        if prediction.setting is None:
            means = [_over_families(each, prediction.families) for each in changes]
        else:
            means = [_by_setting(each, prediction.setting) for each in changes]
        found.append((", ".join(prediction.families), _finding(prediction, runs, changes, means)))
    return found


class _Mean(NamedTuple):
    """A mean over runs, or over pairs of them, and what must be beyond which number."""

    words: str
    estimate: Estimate
    smallest: float


def _over_families(changes: Changes, families: Sequence[str]) -> _Mean:
    """Return the mean change over the runs of some families, whose spread is that within them."""
    if not changes.runs:
        return _Mean("no run", UNKNOWN, 0.0)
    first, measure = changes.runs[0], changes.measure
    strata, told = [], []
    for family in families:
        own = [run.model for run in changes.runs if family_of(run) == family]
        found = [changes.found[model] for model in own if model in changes.found]
        here = "none"
        if found:
            strata.append(found)
            value = float(np.mean([change.value for change in found]))
            here = show(value, difference_unit(measure.unit))
        told.append(f"{here} in {family} ({len(found)} of {len(own)})")
    mean = mean_over_runs(strata, first.settings.confidence)
    smallest = 0.0
    if measure in ENTROPIES:
        num_layers = len(by_layer(first.summary, ENTROPY.quantity))
        smallest = num_layers * first.settings.smallest_entropy_change_nats
    words = f"{measure.label}: {_spread(first, mean, measure)}; families: {', '.join(told)}"
    return _Mean(words, mean, smallest)


def _by_setting(changes: Changes, setting: str) -> _Mean:
    """Return by how much the change differs between the ends of a setting, mean over pairs."""
    if not changes.runs:
        return _Mean("no run", UNKNOWN, 0.0)
    settings = changes.runs[0].settings
    pairs, told = [], []
    for levels in strata_of([run.model for run in changes.runs], settings.nurseries, setting):
        seeds = set.intersection(*map(set, levels.values()))
        models = [[by_seed[seed] for by_seed in levels.values()] for seed in sorted(seeds)]
        weights = line_through(len(levels)).tolist()
        found = [
            combination(weights, [[changes.found[model]] for model in each])
            for each in models
            if changes.found.keys() >= set(each)
        ]
        if found:
            pairs.append(found)
            here = float(np.mean([pair.value for pair in found]))
            unit = difference_unit(changes.measure.unit)
            families = " and ".join(str(settings.families[model]) for model in models[0])
            told.append(f"{show(here, unit)} between {families} ({len(found)} of {len(seeds)})")
    mean = mean_over_runs(pairs, settings.confidence)
    whole = f"{changes.measure.label}: {_spread(changes.runs[0], mean, changes.measure)}"
    return _Mean(f"{whole}; pairs: {', '.join(told) or 'none'}", mean, 0.0)


def _spread(run: Measured, mean: Estimate, measure: Measure) -> str:
    return run.spread(mean, difference_unit(measure.unit))


def _finding(
    prediction: Prediction,
    runs: Sequence[Measured],
    changes: Sequence[Changes],
    means: Sequence[_Mean],
) -> Finding:
    claim = CLAIMS[prediction.claim]
    lost = {name: why for each in changes for name, why in each.lost.items()}
    counted = set.intersection(*(set(each.found) for each in changes))
    parts = [Part(_claimed(claim, mean.estimate), mean.smallest) for mean in means]
    lows = np.nan_to_num([part.estimate.low for part in parts], nan=-np.inf)
    weakest = means[int(np.argmin(lows))].estimate
    left_out = "; ".join(f"{name}: {why}" for name, why in lost.items())
    decision = decide(parts, runs[0].settings.confidence) if runs else decide([], 0.0)
    return Finding(
        prediction.claim,
        f"{prediction.name}: {claim.statement}{_more(prediction)}.",
        PREDICTION,
        _rule(prediction),
        capital("; ".join(mean.words for mean in means))
        + f". {len(counted)} of {len(runs)} runs count"
        + (f"; left out, {left_out}." if left_out else "."),
        decision.verdict,
        decision.p_value,
        len(counted),
        difference_unit(claim.measures[0].unit),
        weakest,
        recipe_of(runs[0], claim) if runs else None,
    )


def _claimed(claim: Claim, change: Estimate) -> Estimate:
    return change if claim.sign > 0 else -change


def _more(prediction: Prediction) -> str:
    return f", the more so the larger {prediction.setting}" if prediction.setting else ""


def _rule(prediction: Prediction) -> str:
    claim = CLAIMS[prediction.claim]
    change = "rise" if claim.sign > 0 else "fall"
    change += " from saturation to the last" if claim.is_after else " from plateau to saturation"
    if prediction.setting:
        what = (
            f"the mean over pairs of runs, alike in all settings but {prediction.setting}, of how"
            f" much larger the {change} checkpoint is with its larger value (along the straight"
            " line through several) has its interval above zero by every measure"
        )
    else:
        smallest = "zero"
        if claim.measures == ENTROPIES:
            smallest = "the smallest of interest by every measure"
        what = f"the mean over runs of the {change} checkpoint has its interval above {smallest}"
    return (
        f"Supported if {what}; not supported if one interval lies below. The unit is a run of"
        " pretraining: the interval holds the spread between runs (Student's t) and the sampling"
        " that they share, and needs two of them. Saturation is the first trained checkpoint with"
        f" {100 * SATURATED:g} % of the last one's recall, the plateau the last before it whose"
        " recall cannot be told from chance, or the first."
    )
