r"""How fast injected knowledge fades: effectivity, retainability and decay constants of one run.

Reads: the probe scores of ``inject_knowledge`` for a recipe with ``probe_interval_steps``, and the
run's schedule, which says when each passage was injected.
Writes, for the conditions paraphrase, once, and all (see ``formulas.decay`` for the definitions),

- the decay table (``learning_schemas.DECAY``):
  ``effectivity``: mean gain of ℓ by an injection, in nats;
  ``retainability``: share R of the whole gain that is left at the run's end;
  ``power_law_decay``: a of R(t) = C - a ln t, with t > 0 the steps since the last peak, and
  ``power_law_r_squared`` of that fit (Chang et al. plot the slope per decade, a · ln 10);
  ``exponential_decay_per_step``: k of R(t) = c exp(-k t), and ``exponential_r_squared``;
- the retained table (``learning_schemas.RETAINED``): the mean curve R(t). Its passages are not the
  same at each t, so that the laws are not fitted to it but within probes.

Effectivity is a mean over a passage's probes, then over passages; what is left is a share of the
gains of all probes. Every value has a basic bootstrap interval
over passages; null where nothing defines it (no gain, too few times), or, for an interval, where
that happens in some resample.

    python -m ke_steps.fit_decay --probe-scores …/probe_scores.parquet \
        --schedule …/schedule.parquet --output-decay decay.parquet \
        --output-retained retained.parquet \
        --settings '{"num_bootstrap": 1000, "confidence": 0.95, "seed": 0}'
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ke_steps.artefacts.learning_schemas import CONDITIONS, DECAY, PROBE_SCORES, RETAINED
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.text_schemas import SCHEDULE
from ke_steps.formulas.bootstrap import (
    ANYTHING,
    AT_MOST_ONE,
    Bounds,
    bootstrap_weights,
    sampling_interval,
)
from ke_steps.formulas.decay import measure, shares_left
from ke_steps.formulas.decay_fits import fit_exponential, fit_power_law
from ke_steps.job.command_line import main
from ke_steps.settings.learning import FitDecay

Array = NDArray[np.float64]

BOUNDS: dict[str, Bounds] = {
    "power_law_r_squared": AT_MOST_ONE,
    "exponential_r_squared": AT_MOST_ONE,
}
"""What quantities cannot leave; all others can be any number."""


def run(
    *,
    probe_scores: Path,
    schedule: Path,
    output_decay: Path,
    output_retained: Path,
    settings: FitDecay,
) -> None:
    """Measure how a run's gains fade, and fit both laws."""
    gains, retained = measure(
        read_frame(probe_scores, PROBE_SCORES),
        read_frame(schedule, SCHEDULE),
    )
    decay_rows: list[dict[str, Any]] = []
    retained_rows: list[dict[str, Any]] = []
    for condition in CONDITIONS:
        of_gains, of_retained = (
            frame[frame["condition"].eq(condition) | (condition == "all")]
            for frame in (gains, retained)
        )
        if len(of_gains):
            decay, curve = condition_rows(of_gains, of_retained, settings)
            decay_rows += [{"condition": condition} | row for row in decay]
            retained_rows += [{"condition": condition} | row for row in curve]
    write_table(output_decay, decay_rows, DECAY)
    write_table(output_retained, retained_rows, RETAINED)


def condition_rows(
    gains: pd.DataFrame, retained: pd.DataFrame, settings: FitDecay
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of one condition for both tables, from the frames of ``decay.measure``."""
    effectivity = gains.groupby("passage_id")["effectivity"].mean()
    num_passages = len(effectivity)
    drawn = bootstrap_weights(num_passages, settings.num_bootstrap, settings.seed)
    # the estimate rides along as row 0, so that it and its replicates go through the same code
    weights = np.vstack([np.full(num_passages, 1 / num_passages), drawn])

    curves = shares_left(retained, effectivity.index, "steps_since", weights)
    at_end = retained[retained["train_step"] == retained["train_step"].max()]
    left = shares_left(at_end, effectivity.index, "train_step", weights)
    faded = retained[retained["retained"].notna() & (retained["steps_since"] > 0)]
    points = faded.assign(passage=effectivity.index.get_indexer(pd.Index(faded["passage_id"])))
    power_law, power_law_r_squared = fit_power_law(points, weights)
    exponential, exponential_r_squared = fit_exponential(points, weights)
    quantities = {
        "effectivity": (weights @ effectivity.fillna(0.0)) / (weights @ effectivity.notna()),
        "retainability": left.iloc[:, 0].to_numpy(),
        "power_law_decay": power_law,
        "power_law_r_squared": power_law_r_squared,
        "exponential_decay_per_step": exponential,
        "exponential_r_squared": exponential_r_squared,
    }
    return (
        [
            {"quantity": name, "num_items": num_passages}
            | _interval(values, "value", settings, BOUNDS.get(name, ANYTHING))
            for name, values in quantities.items()
        ],
        [
            {"steps_since": step} | _interval(column, "retained", settings)
            for step, column in zip(curves.columns, curves.to_numpy().T, strict=True)
        ],
    )


def _interval(
    replicates: Array, name: str, settings: FitDecay, bounds: Bounds = ANYTHING
) -> dict[str, float | None]:
    """Return an estimate (row 0) and its interval; None for what is not a number."""
    value = float(replicates[0])
    low, high = sampling_interval(value, replicates[1:], 0.0, settings.confidence, bounds)
    row = {name: value, "low": low, "high": high}
    return {key: None if np.isnan(number) else number for key, number in row.items()}


if __name__ == "__main__":
    main(run)
