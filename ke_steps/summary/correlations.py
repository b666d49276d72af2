"""Correlations over the stages of pretraining: does learning go with entropy?

A stage is a trained checkpoint of the original variant; its value is the mean over seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ke_steps.settings.telling import Summarize
from ke_steps.summary.points import by_stage, rows_of
from ke_steps.summary.quantities import ENTROPY, OUTCOMES, WHOLE_MODEL, Measure

ENTROPIES = (
    ENTROPY,
    Measure("contribution_entropy_nats", WHOLE_MODEL),
    Measure("attribution_entropy_nats", WHOLE_MODEL),
)
"""The paper's, and two that no rescaling of a memory and its key can change."""

METHODS: dict[str, Any] = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}
MAX_EXACT_POINTS = 8
MIN_DISTINCT_POINTS = 3
"""Any two points lie on a line: a resample of fewer distinct ones says nothing and is skipped."""


def correlate(
    x: NDArray[np.float64], y: NDArray[np.float64], method: str, settings: Summarize
) -> dict[str, float]:
    """Return value, p_value and the percentile bootstrap interval (low, high) of r(x, y).

    Points are resampled in pairs. All are NaN with fewer than ``min_points`` points or when a
    variable is constant. Percentiles, because r is bounded and a reflected interval is not.
    """
    nothing = dict.fromkeys(("value", "p_value", "low", "high"), math.nan)
    if len(x) < settings.min_points or np.ptp(x) == 0 or np.ptp(y) == 0:
        return nothing
    result = METHODS[method](x, y)
    is_exact = method == "spearman" and len(x) <= MAX_EXACT_POINTS
    low, high = _interval(x, y, method, settings)
    return {
        "value": float(result.statistic),
        "p_value": _exact_p_value(x, y) if is_exact else float(result.pvalue),
        "low": low,
        "high": high,
    }


def _exact_p_value(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return Spearman's two-sided p over all orders: the usual t is far off for few points."""
    x_ranks, y_ranks = stats.rankdata(x), stats.rankdata(y)
    centred = x_ranks - x_ranks.mean()
    orders = np.array(list(itertools.permutations(y_ranks)))
    as_extreme = np.abs(orders @ centred) >= abs(y_ranks @ centred) - 1e-9
    return float(as_extreme.mean())


def _interval(
    x: NDArray[np.float64], y: NDArray[np.float64], method: str, settings: Summarize
) -> tuple[float, float]:
    drawn = np.random.default_rng(settings.seed).integers(
        len(x), size=(settings.num_bootstrap, len(x))
    )
    x_drawn, y_drawn = x[drawn], y[drawn]
    distinct = (np.diff(np.sort(drawn, axis=1), axis=1) > 0).sum(axis=1) + 1
    varied = (np.ptp(x_drawn, axis=1) > 0) & (np.ptp(y_drawn, axis=1) > 0)
    usable = (distinct >= MIN_DISTINCT_POINTS) & varied
    x_drawn, y_drawn = x_drawn[usable], y_drawn[usable]
    if method == "spearman":
        x_drawn, y_drawn = stats.rankdata(x_drawn, axis=1), stats.rankdata(y_drawn, axis=1)
    x_drawn = x_drawn - x_drawn.mean(axis=1, keepdims=True)
    y_drawn = y_drawn - y_drawn.mean(axis=1, keepdims=True)
    squares = (x_drawn**2).sum(axis=1) * (y_drawn**2).sum(axis=1)
    replicates = (x_drawn * y_drawn).sum(axis=1) / np.sqrt(squares)
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def correlations(estimates: pd.DataFrame, settings: Summarize) -> list[dict[str, Any]]:
    """Return the rows of CORRELATIONS: entropies against each outcome, per model and recipe.

    What was not measured on a model has no rows.
    """
    rows: list[dict[str, Any]] = []
    pairs = estimates[["model", "recipe"]].dropna().drop_duplicates()
    for model, recipe in pairs.itertuples(index=False, name=None):
        here = estimates[estimates["model"] == model]
        outcomes = {
            measure: by_stage(here, model, measure, recipe)
            for measure in OUTCOMES
            if len(rows_of(here, measure, recipe))
        }
        for entropy in ENTROPIES:
            x = by_stage(here, model, entropy)
            if len(x) or entropy == ENTROPY:
                place = {"model": model, "recipe": recipe, "x": entropy.quantity}
                rows.extend(place | row for row in _with_outcomes(x, outcomes, settings))
    return rows


def _with_outcomes(
    x: pd.Series, outcomes: Mapping[Measure, pd.Series], settings: Summarize
) -> Iterator[dict[str, Any]]:
    for outcome, y in outcomes.items():
        stages = pd.DataFrame({"x": x, "y": y}).dropna()
        for method in METHODS:
            yield {
                "y": outcome.quantity,
                "method": method,
                "num_points": len(stages),
                **correlate(
                    stages["x"].to_numpy(float), stages["y"].to_numpy(float), method, settings
                ),
            }
