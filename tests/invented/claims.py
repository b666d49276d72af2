"""Made-up measurements of one model, unit by unit, in which what is true is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ke_steps.artefacts.places import Identity
from ke_steps.artefacts.replicates import Resampled
from ke_steps.artefacts.summary_schemas import CORRELATIONS, SUMMARY
from ke_steps.claims.findings import Finding
from ke_steps.claims.judging import claims
from ke_steps.claims.measured import Measured
from ke_steps.claims.resuscitation import TEMPERATURES
from ke_steps.formulas.bootstrap import bootstrap_weights, sampling_interval, unresolved_proportion
from ke_steps.settings.telling import SummarizeJob
from ke_steps.summary.correlations import correlations
from ke_steps.summary.estimates import estimates_of
from ke_steps.summary.points import mark_trained
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACCURACY_BEFORE,
    ACQUISITION,
    CHANCE,
    ENTROPY,
    KNOWLEDGE_AFTER,
    KNOWLEDGE_BEFORE,
    QUANTITIES,
    Measure,
)
from ke_steps.summary.replicates import Replicates

Array = NDArray[np.float64]
MODEL = "nursery"
RECIPE = "baseline"
NUM_BOOTSTRAP = 400
LEVEL = 0.95


@cache
def weights_of(num_units: int) -> Array:
    """Return the same resampling weights (num_bootstrap, num_units) for all that are measured."""
    return bootstrap_weights(num_units, NUM_BOOTSTRAP, seed=7)


def variants_of(kinds: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return some settings of variants whose kinds alone matter."""
    multipliers = {"quantile": 0.5, "boost": 2.0}
    return {
        name: {"kind": kind} | ({"temperature": 2.0} if kind in TEMPERATURES else multipliers)
        for name, kind in kinds.items()
    }


class Invented:
    """A model's measurements as they are added, each from values of the units that are resampled.

    Attributes:
        settings: what ``summarize`` would receive.
        model: its name.
    """

    def __init__(
        self,
        *,
        model: str = MODEL,
        variant_kinds: Mapping[str, str] | None = None,
        variants: Mapping[str, Mapping[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        self.model = model
        self.settings = SummarizeJob.model_validate(
            {
                "confidence": LEVEL,
                "num_bootstrap": 200,
                "min_points": 4,
                "seed": 0,
                "main_corpora": {MODEL: "pretraining"},
                "score": "per_token",
                "variants": variants or variants_of(variant_kinds or {}),
                **settings,
            }
        )
        self._found: dict[tuple[Measure, Identity], Resampled] = {}
        self._rows: list[dict[str, Any]] = []
        self._passages: dict[Identity, pd.Series] = {}

    def entropies(
        self,
        step: int,
        groups: Mapping[str, Array],
        variant: str = "original",
        measure: Measure = ENTROPY,
    ) -> None:
        """Add H by group (model, layer 0, …), of each group of sequences (num_groups,)."""
        for group, values in groups.items():
            self._add(measure.of(group), Identity(self.model, step, variant, None, None), values)

    def value(
        self,
        measure: Measure,
        value: float,
        step: int,
        *,
        variant: str = "original",
        recipe: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Add a value of which nothing is resampled."""
        identity = Identity(self.model, step, variant, recipe, seed)
        self._row(measure, identity, (value, value, value))

    def accuracy(
        self,
        step: int,
        right: Array,
        chance: float = 0.25,
        variant: str = "original",
        model: str | None = None,
    ) -> None:
        """Add P before learning, of which items were answered rightly (num_items,).

        Of another model where one is named.
        """
        state = Identity(model or self.model, step, variant, None, None)
        self._add(ACCURACY_BEFORE, state, right)
        self._add(CHANCE, state, np.full(len(right), chance))

    def run(
        self,
        step: int,
        seed: int,
        knowledge: tuple[Array, Array],
        right: Array | None = None,
        *,
        variant: str = "original",
        recipe: str = RECIPE,
    ) -> None:
        """Add a run: K of each passage before and after (num_passages,), and items right after."""
        run = Identity(self.model, step, variant, recipe, seed)
        for measure, values in zip((KNOWLEDGE_BEFORE, KNOWLEDGE_AFTER), knowledge, strict=True):
            self._add(measure, run, values)
        self._passages[run] = pd.Series(knowledge[1])
        if right is not None:
            self._add(ACCURACY_AFTER, run, right)

    def measured(self) -> Measured:
        """Return what claims are decided from."""
        replicates = Replicates(self._found, LEVEL)
        rows = [*self._rows]
        for run in dict.fromkeys(identity for _, identity in self._found if identity.recipe):
            names = run._asdict()
            compared = replicates.compared_rows(run)
            rows += [{**names, **row} for row in compared.to_dict("records")]
            acquired = replicates.of(ACQUISITION, run)
            low, high = sampling_interval(acquired.value, acquired.replicates, 0.0, LEVEL)
            values = {"value": acquired.value, "low": low, "high": high, "num_items": 1}
            rows.append({**names, **ACQUISITION._asdict(), **values})
        summary = pd.DataFrame(rows).reindex(columns=SUMMARY.names).astype({"seed": "Int64"})
        summary = mark_trained(summary, [self.model])
        summary["unit"] = summary["quantity"].map(lambda name: QUANTITIES[name].unit)
        estimates = estimates_of(summary, self.settings)
        pairs = pd.DataFrame(correlations(estimates, self.settings), columns=CORRELATIONS.names)
        return Measured.of(
            self.model,
            summary=summary,
            estimates=estimates,
            replicates=replicates,
            correlations=pairs,
            settings=self.settings,
            passages=self._passages,
        )

    def _add(self, measure: Measure, identity: Identity, values: Array) -> None:
        weights = weights_of(len(values))
        value, replicates = float(np.mean(values)), weights @ np.asarray(values, dtype=np.float64)
        is_proportion = measure.unit == "fraction" and measure != CHANCE
        few = unresolved_proportion(len(values), LEVEL) if is_proportion else 0.0
        name = str(len(values))
        self._found[measure, identity] = Resampled(value, replicates, len(values), name, few)
        low, high = sampling_interval(value, replicates, few, LEVEL)
        self._row(measure, identity, (value, low, high), len(values))

    def _row(
        self,
        measure: Measure,
        identity: Identity,
        interval: tuple[float, float, float],
        num_items: int | None = None,
    ) -> None:
        numbers = dict(zip(("value", "low", "high"), interval, strict=True))
        names = {**identity._asdict(), **measure._asdict(), "num_items": num_items}
        self._rows.append(names | numbers)


Rule = Callable[[Measured], Iterator[Finding]]


def finding_of(invented: Invented, rule: Rule, name: str | None = None) -> Finding:
    """Return the one finding of a rule, or that of a name, before any correction."""
    (found,) = (each for each in rule(invented.measured()) if name in (None, each.claim))
    return found


def judged(invented: Invented) -> pd.DataFrame:
    """Return all claims as they are told, corrected."""
    return pd.DataFrame(claims([invented.measured()], between_runs=[]))


def passages(generator: np.random.Generator, mean: float, num: int = 60) -> Array:
    """Return K by passage: passages differ far more than states do."""
    values: Array = mean + 2 * generator.normal(size=num)
    return values


def answers(share: float, num: int = 400) -> Array:
    """Return items of which a share is right, from the first on: nested in those of more."""
    return (np.arange(num) < round(share * num)).astype(np.float64)


def stages(
    values: Sequence[float],
    *,
    noise: float = 0.02,
    seeds: Sequence[int] = (0, 1, 2),
    accuracies: Sequence[float] | None = None,
    generator_seed: int = 0,
    **settings: Any,
) -> Invented:
    """Return a model whose K after runs through values at steps 100, 200 and so on.

    K before is -10 at every stage, P before 0.8; each seed moves all stages alike, and each run by
    ``noise`` beside.
    """
    generator = np.random.default_rng(generator_seed)
    of_passages = passages(generator, 0.0)
    of_seeds = generator.normal(size=max(seeds) + 1)
    found = Invented(**settings)
    for place, value in enumerate(values):
        step = 100 * (place + 1)
        found.accuracy(step, answers(0.8))
        for seed in seeds:
            moved = value + of_seeds[seed] + noise * generator.normal()
            right = answers(accuracies[place]) if accuracies else answers(0.7)
            found.run(step, seed, (of_passages - 10, of_passages + moved), right)
    return found
