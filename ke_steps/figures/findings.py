"""What each figure shows, as a sentence that is its title, with direction and number.

A function takes the rows that a figure drew (``Drawing.data``) and returns a sentence without its
stop, or nothing where they tell none; then the figure is called by what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from ke_steps.figures.changes import UNCLEAR, changes, joined, levels, of_measure, told, told_rows
from ke_steps.figures.findings_of_learning import (
    after_injections,
    between_runs,
    effects,
    fading,
    frontiers,
    pearson,
    probes,
    variants,
)
from ke_steps.figures.findings_of_memories import (
    distributions,
    novelty,
    rankings,
    updates,
)
from ke_steps.settings.telling import FigureName
from ke_steps.summary.points import by_layer
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION,
    ENTROPY,
    FORGETTING,
    KNOWLEDGE_AFTER,
    WHOLE_MODEL,
    Measure,
)

Finding = Callable[[pd.DataFrame], str]

STAGES = " over the stages of pretraining"
SYMBOLS = {ENTROPY: "H", ACQUISITION: "A", FORGETTING: "F"}
SYMBOLS |= {KNOWLEDGE_AFTER: "K after learning", ACCURACY_AFTER: "P after learning"}
TOKEN_ENTROPIES = (
    Measure("attention_entropy_nats", WHOLE_MODEL),
    Measure("next_token_entropy_nats", WHOLE_MODEL),
)
NORMALIZED = Measure("normalized_entropy", WHOLE_MODEL)


def _by_stage(measures: Sequence[Measure], by: str = "whose", nouns: str = "models") -> Finding:
    """Return what tells how measures change over the stages, in each of several courses."""

    def tell(data: pd.DataFrame) -> str:
        rows = told_rows(data)
        parts = []
        for measure in measures:
            found = changes(
                of_measure(rows, measure), ["whose", by] if by != "whose" else ["whose"]
            )
            name = SYMBOLS.get(measure, measure.label)
            parts.append(told(name, found, nouns))
        if any(parts):
            return joined(parts, STAGES)
        return joined(
            levels(SYMBOLS.get(measure, measure.label), of_measure(rows, measure), nouns)
            for measure in measures
        )

    return tell


def _layers(data: pd.DataFrame) -> str:
    rows = told_rows(data)
    layers = rows[
        rows["group"].isin([measure.group for measure in by_layer(rows, ENTROPY.quantity).values()])
    ]
    found = changes(layers[layers["quantity"] == ENTROPY.quantity], ["whose", "group"])
    if not found:
        return joined([levels("H of a layer", layers, f"layers{_of_models(rows)}")])
    return joined([told("H", found, f"layers{_of_models(rows)}")], STAGES)


def _measures(data: pd.DataFrame) -> str:
    rows = told_rows(data)
    found = changes(rows, ["whose", "quantity"])
    if not found:
        return joined([levels("entropy", rows, f"measures{_of_models(rows)}")])
    return joined([told("entropy", found, f"measures{_of_models(rows)}")], STAGES)


def _each(data: pd.DataFrame) -> str:
    """Say of every quantity how it changes, where there are many."""
    rows = told_rows(data)
    verbs: dict[str, list[str]] = {}
    for (quantity, group), own in rows.groupby(["quantity", "group"], sort=False):
        measure = Measure(str(quantity), str(group))
        found = changes(own, ["whose"])
        directions = {change.direction for change in found.values()}
        if len(directions) == 1:
            verbs.setdefault(directions.pop(), []).append(SYMBOLS.get(measure, measure.label))
    parts = [
        f"{', '.join(labels)} {_plural(verb) if len(labels) > 1 else verb}"
        for verb, labels in verbs.items()
    ]
    return joined(["; ".join(parts)], STAGES)


def _plural(verb: str) -> str:
    return "do not move clearly" if verb == UNCLEAR else verb.removesuffix("s")


def _of_models(rows: pd.DataFrame) -> str:
    number = rows["whose"].nunique()
    return f" of {number} models" if number > 1 else ""


H = _by_stage([ENTROPY])
LEARNING = (ACQUISITION, FORGETTING)

FINDINGS: dict[FigureName, Finding] = {
    "entropy_by_stage": H,
    "entropy_by_layer": _layers,
    "entropy_by_measure": _measures,
    "entropy_by_corpus": _by_stage([ENTROPY], "corpus", "corpora"),
    "entropy_by_phase": _by_stage([NORMALIZED], nouns="families"),
    "attention_and_next_token_entropy": _by_stage(TOKEN_ENTROPIES),
    "rivals_by_stage": _each,
    "acquisition_and_forgetting": _by_stage(LEARNING),
    "performance_by_stage": _by_stage([KNOWLEDGE_AFTER, ACCURACY_AFTER]),
    "probe_curves": probes,
    "knowledge_by_injection": after_injections,
    "variants": variants,
    "resuscitation_by_boost": variants,
    "resuscitation_by_quantile": variants,
    "resuscitation_by_stage": variants,
    "attention_temperature": variants,
    "learning_by_recipe": _by_stage(LEARNING, "recipe", "recipes"),
    "learning_by_model": _by_stage(LEARNING),
    "learning_frontiers": frontiers,
    "gauge_and_function": effects,
    "retention_over_time": fading,
    "entropy_and_learning": pearson,
    "entropy_and_learning_between_runs": between_runs,
    "coefficient_distributions": distributions,
    "novelty_by_corpus": novelty,
    "update_map": updates,
    "ranking_changes": rankings,
}
