"""What the states of a study share: bootstrap replicates, and what pairs of them come to.

A, A*, F and F above chance compare two measurements of the same passages or items. Their replicates
are made of the replicates of both, resample by resample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.places import Identity, corpus_of, identify
from ke_steps.artefacts.replicates import REPLICATES, Resampled
from ke_steps.formulas.bootstrap import sampling_interval
from ke_steps.formulas.ratios import acquisition, forgetting, forgetting_above_chance
from ke_steps.formulas.uncertainty import Sampled
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACCURACY_BEFORE,
    ACQUISITION,
    ACQUISITION_FROM_ORIGINAL,
    CHANCE,
    ENTROPY,
    FORGETTING,
    FORGETTING_ABOVE_CHANCE,
    KNOWLEDGE_AFTER,
    KNOWLEDGE_BEFORE,
    QUANTITIES,
    Measure,
)

Array = NDArray[np.float64]
Key = tuple[Measure, Identity]

BY_MOMENT = ("accuracy", "bits_per_token")
"""What is measured before and after learning alike: its place tells which."""


class Replicates:
    """The replicates of a whole study; what was not measured has none."""

    def __init__(self, found: dict[Key, Resampled], confidence: float) -> None:
        self._found = found
        self._measures: dict[Identity, list[Measure]] = {}
        for measure, identity in found:
            self._measures.setdefault(identity, []).append(measure)
        self._confidence = confidence

    @classmethod
    def read(
        cls, paths: Iterable[Path], main_corpora: Mapping[str, str], confidence: float
    ) -> Replicates:
        """Read files of ``REPLICATES``.

        Args:
            paths: what was measured and when is read from them.
            main_corpora: by model, whose entropies go without its name.
            confidence: of the interval of P before that must lie above chance.
        """
        found: dict[Key, Resampled] = {}
        for path in paths:
            identity = identify(path)
            for name, group, num_units, units, value, unresolved, replicates in read_frame(
                path, REPLICATES
            ).itertuples(index=False, name=None):
                measure = _measure(Measure(name, group), path, identity, main_corpora)
                resampled = Resampled(value, np.asarray(replicates), num_units, units, unresolved)
                found[measure, identity] = resampled
        return cls(found, confidence)

    def of(self, measure: Measure, identity: Identity) -> Sampled | None:
        """Return a measure of a run, or of a state: its recipe and seed are None.

        Raises:
            UserError: the two measurements that it compares are of other passages or items.
        """
        found = self._resampled(measure, identity)
        return found and Sampled(found.value, found.replicates, found.unresolved, found.units)

    def compared_rows(self, run: Identity) -> pd.DataFrame:
        """Return the rows of the summary that compare a run with what was before it.

        A*, F and F above chance by the groups of probes and the tasks that the run was asked.
        """
        rows = []
        for base, compared in (
            (KNOWLEDGE_AFTER, (ACQUISITION_FROM_ORIGINAL,)),
            (ACCURACY_AFTER, (FORGETTING, FORGETTING_ABOVE_CHANCE)),
        ):
            groups = [
                measure.group
                for measure in self._measures.get(run, [])
                if measure.quantity == base.quantity
            ]
            measures = [measure.of(group) for measure in compared for group in groups]
            rows += [row for measure in measures if (row := self._row(measure, run))]
        return pd.DataFrame(
            rows, columns=["group", "quantity", "value", "low", "high", "num_items"]
        )

    def _row(self, measure: Measure, run: Identity) -> dict[str, object] | None:
        found = self._resampled(measure, run)
        if found is None:
            return None
        low, high = sampling_interval(
            found.value,
            found.replicates,
            found.unresolved,
            self._confidence,
            QUANTITIES[measure.quantity].bounds,
        )
        interval = {"value": found.value, "low": low, "high": high}
        return {**measure._asdict(), **interval, "num_items": found.num_units}

    def _resampled(self, measure: Measure, run: Identity) -> Resampled | None:
        before = run._replace(recipe=None, seed=None)
        match measure.quantity:
            case ACQUISITION.quantity:
                return self._acquired(measure.group, run, run)
            case ACQUISITION_FROM_ORIGINAL.quantity:
                return self._acquired(measure.group, run, run._replace(variant=ORIGINAL))
            case FORGETTING.quantity:
                return self._compared(
                    forgetting,
                    (ACCURACY_BEFORE.of(measure.group), before),
                    (ACCURACY_AFTER.of(measure.group), run),
                )
            case FORGETTING_ABOVE_CHANCE.quantity:
                return self._above_chance(measure.group, before, run)
            case _:
                return self._found.get((measure, run))

    def _acquired(self, group: str, run: Identity, start: Identity) -> Resampled | None:
        return self._compared(
            acquisition, (KNOWLEDGE_BEFORE.of(group), start), (KNOWLEDGE_AFTER.of(group), run)
        )

    def _above_chance(self, task: str, before: Identity, run: Identity) -> Resampled | None:
        """Return F above chance; all NaN where P before cannot be told from chance."""
        known, guessed = (ACCURACY_BEFORE.of(task), before), (CHANCE.of(task), before)
        found = self._compared(
            forgetting_above_chance, known, (ACCURACY_AFTER.of(task), run), guessed
        )
        above = self._compared(np.subtract, known, guessed)
        if found is None or above is None:
            return None
        low, _ = sampling_interval(
            above.value, above.replicates, above.unresolved, self._confidence
        )
        if low > 0:
            return found
        nothing = np.full_like(found.replicates, np.nan)
        return found._replace(value=np.nan, replicates=nothing)

    def _compared(self, formula: Callable[..., object], *keys: Key) -> Resampled | None:
        """Return a formula of several measurements, resample by resample."""
        parts = [self._found.get(key) for key in keys]
        known = [part for part in parts if part is not None]
        if len(known) < len(keys):
            return None
        if len({part.units for part in known}) > 1:
            (_, first), (measure, other), *_ = keys
            raise UserError(
                f"{measure.label} of {_words(other)} and what is before it of {_words(first)} are"
                " of different passages or items; make both again"
            )
        values = [part.value for part in known]
        return known[0]._replace(
            value=float(np.asarray(formula(*values))),
            replicates=np.asarray(formula(*(part.replicates for part in known)), dtype=np.float64),
            unresolved=_unresolved(formula, known),
        )


def _unresolved(formula: Callable[..., object], parts: list[Resampled]) -> float:
    """Return by how much a formula moves when any one part moves by what it cannot resolve."""
    values = [part.value for part in parts]
    start = float(np.asarray(formula(*values)))
    moves = [0.0]
    for position, part in enumerate(parts):
        for sign in (-1, 1) if part.unresolved else ():
            moved = [*values]
            moved[position] = float(np.clip(part.value + sign * part.unresolved, 0, 1))
            moves.append(abs(float(np.asarray(formula(*moved))) - start))
    return float(np.max(moves))


def _measure(
    measure: Measure, path: Path, identity: Identity, main_corpora: Mapping[str, str]
) -> Measure:
    """Return the summary's name of a row: with its moment, or the corpus it was measured on."""
    if measure.quantity in BY_MOMENT:
        moment = "before" if identity.recipe is None else "after"
        return measure._replace(quantity=f"{measure.quantity}_{moment}")
    if measure.quantity.endswith(ENTROPY.quantity):
        corpus = corpus_of(path)
        if corpus != main_corpora[identity.model]:
            return measure.of(f"{corpus}/{measure.group}")
    return measure


def _words(identity: Identity) -> str:
    return "/".join(str(part) for part in identity if part is not None)
