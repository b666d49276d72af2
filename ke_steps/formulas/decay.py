"""How much of a gain is kept: effectivity and retainability, as Chang et al. (2024) define them.

Chang et al., "How Do Large Language Models Acquire Factual Knowledge During Pretraining?", arXiv
2406.11813, section 3, definitions 1 to 3. ℓ is a probe's log probability per target token. Over
several probes what is left is told as a share of their gains together: theirs is the mean of R.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ke_steps.job.errors import UserError

Array = NDArray[np.float64]

WINDOW_STEPS = 50
"""Where the peak after an injection is looked for: t_w of the paper, as 0.9⁵⁰ ≈ 0.5 % of its
gradient is then left in the optimiser's momentum."""

OUTLIER_FACTOR = 1.5
"""Values further than this many interquartile ranges from the quartiles are left out."""

NOTHING = pd.DataFrame(
    columns=[
        "passage_id",
        "condition",
        "probe_id",
        "train_step",
        "steps_since",
        "effectivity",
        "retained",
        "gain",
    ]
)


def measure(scores: pd.DataFrame, schedule: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure every probe of a run.

    Args:
        scores: a frame of ``learning_schemas.PROBE_SCORES``.
        schedule: the run's frame of ``text_schemas.SCHEDULE``. Injections after the last probing do
            not count: a run that diverged never came to them.

    Returns:
        The gains, one row per probe and injection of its passage: passage_id, condition,
        ``effectivity``; and what is retained of them, one row per probe and step from its last
        peak on: passage_id, condition, train_step, ``steps_since``, ``retained``, and the ``gain``
        in nats that it is a share of. Outliers and what is retained of no gain are NaN. No rows if
        the run came to no injection.

    Raises:
        UserError: a passage is not in the schedule, or not probed just before an injection.
    """
    curves = scores.drop_duplicates(["probe_id", "train_step"]).pivot(
        index=["passage_id", "condition", "probe_id"],
        columns="train_step",
        values="log_probability_per_token",
    )
    steps = curves.columns.to_numpy()
    gains, retained = [], []
    for key, probes in curves.groupby(level=["passage_id", "condition"]):
        names: dict[str, Any] = dict(zip(("passage_id", "condition"), key, strict=True))
        injected = _injections(schedule, names["passage_id"], steps)
        if not len(injected):
            continue
        effectivity, peaks, shares, gain = follow(probes.to_numpy(), steps, injected)
        gains.append(pd.DataFrame({"effectivity": effectivity.ravel()}).assign(**names))
        since = steps - peaks[:, None]
        after = since >= 0
        probe_ids = probes.index.get_level_values("probe_id").to_numpy()
        columns = {
            "probe_id": np.broadcast_to(probe_ids[:, None], since.shape)[after],
            "train_step": np.broadcast_to(steps, since.shape)[after],
            "steps_since": since[after],
            "retained": shares[after],
            "gain": np.broadcast_to(gain[:, None], since.shape)[after],
        }
        retained.append(pd.DataFrame(columns).assign(**names))
    if not gains:
        return NOTHING, NOTHING
    return (
        _without_outliers(pd.concat(gains, ignore_index=True), "effectivity", ["condition"]),
        _without_outliers(
            pd.concat(retained, ignore_index=True), "retained", ["condition", "steps_since"]
        ),
    )


def follow(
    values: Array, steps: NDArray[np.int64], injected: Sequence[int] | NDArray[np.int64]
) -> tuple[Array, NDArray[np.int64], Array, Array]:
    """Follow the probes of one passage through a run.

    The peak after injection i, in the batch of step s, is the highest ℓ probed after s…s + 49
    steps and before the passage's next injection; the first of equals.

    Args:
        values: ℓ (probes, S).
        steps: optimiser steps done at each probing (S,), ascending.
        injected: the steps, ascending, whose batch holds the passage.

    Returns:
        Effectivity (probes, injections): ℓ at the peak - ℓ just before the injection.
        The step of the last peak (probes,).
        Retainability (probes, S): (ℓ - ℓ₀) / (ℓ at the last peak - ℓ₀), with ℓ₀ just before the
        first injection; NaN where that peak is no gain.
        That gain (probes,).
    """
    before = values[:, np.searchsorted(steps, np.asarray(injected) - 1)]
    ends = np.append(injected[1:], steps[-1] + 1)
    peaks = np.empty(before.shape, dtype=np.int64)
    for number, (start, end) in enumerate(zip(injected, ends, strict=True)):
        window = np.flatnonzero((steps >= start) & (steps < min(start + WINDOW_STEPS, end)))
        peaks[:, number] = window[values[:, window].argmax(axis=1)]
    heights = np.take_along_axis(values, peaks, axis=1)
    gain = heights[:, -1:] - before[:, :1]
    retained = np.divide(
        values - before[:, :1], gain, out=np.full(values.shape, np.nan), where=gain > 0
    )
    return heights - before, steps[peaks[:, -1]], retained, gain[:, 0]


def _injections(schedule: pd.DataFrame, passage: int, steps: NDArray[Any]) -> NDArray[Any]:
    injected = np.sort(schedule.loc[schedule["passage_id"] == passage, "train_step"].unique())
    if not len(injected):
        raise UserError(f"schedule: passage {passage}, which the probe scores ask for, is missing")
    injected = injected[injected <= steps[-1]]
    unprobed = set(injected) | {step - 1 for step in injected}
    unprobed -= set(steps)
    if unprobed:
        raise UserError(
            f"probe scores: none after {min(unprobed)} steps, at an injection of passage {passage};"
            " are schedule and scores of the same run?"
        )
    return injected


def _without_outliers(frame: pd.DataFrame, column: str, keys: list[str]) -> pd.DataFrame:
    groups = frame.groupby(keys)[column]
    low, high = groups.transform("quantile", 0.25), groups.transform("quantile", 0.75)
    reach = OUTLIER_FACTOR * (high - low)
    is_inside = frame[column].between(low - reach, high + reach)
    return frame.assign(**{column: frame[column].where(is_inside)})


def shares_left(
    retained: pd.DataFrame, passages: pd.Index, along: str, weights: Array
) -> pd.DataFrame:
    """Return the share of all gains that is left (B, T), under each row of weights.

    Σ (ℓ - ℓ₀) / Σ (ℓ at the peak - ℓ₀) over the probes that have an R: the mean of R with the gains
    as weights. A mean of R alone would be ruled by probes that gained next to nothing.

    Args:
        retained: the second frame of ``measure``, of one condition.
        passages: the columns of the weights.
        along: the column of ``retained`` whose T values are told apart.
        weights: (B, passages).
    """
    is_known = retained["retained"].notna()
    sums = retained.assign(
        left=(retained["retained"] * retained["gain"]).where(is_known, 0.0),
        gain=retained["gain"].where(is_known, 0.0),
    ).pivot_table(index="passage_id", columns=along, values=["left", "gain"], aggfunc="sum")
    sums = sums.reindex(passages).fillna(0.0)
    left, gains = (weights @ sums[name].to_numpy() for name in ("left", "gain"))
    shares = np.divide(left, gains, out=np.full(left.shape, np.nan), where=gains > 0)
    return pd.DataFrame(shares, columns=sums["left"].columns)
