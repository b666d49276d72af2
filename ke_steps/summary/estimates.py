"""Means over seeds with the one error bar: what tables, figures, words and verdicts tell."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ke_steps.artefacts.summary_schemas import ESTIMATES
from ke_steps.formulas.uncertainty import UNKNOWN, mean, spread_within_states
from ke_steps.settings.telling import Summarize
from ke_steps.summary.quantities import QUANTITIES

FAMILY = ["model", "recipe", "group", "quantity"]
"""What shares one spread between seeds."""
STATE = ["step", "variant"]
NUMBERS = ("value", "low", "high", "degrees_of_freedom")
"""Of an estimate."""
METHODS = {"documents": "order statistics of", "draws of noise": "Student's t over"}
"""Of intervals over what is sampled, where that is no bootstrap."""
BEFORE_LEARNING = -1
"""In place of a seed, for what is measured without one."""


def estimates_of(summary: pd.DataFrame, settings: Summarize) -> pd.DataFrame:
    """Return ESTIMATES in the order of a summary (SUMMARY) without runs that diverged.

    The interval is that of ``formulas.uncertainty.mean``, kept within the quantity's bounds.
    """
    is_sampled = summary["quantity"].map(lambda name: bool(QUANTITIES[name].units))
    means = seed_means(summary, FAMILY, STATE, settings.confidence, is_sampled)
    keys = [*FAMILY, *STATE]
    named = [*keys, "is_trained", "unit", "num_items"]
    places = summary.drop_duplicates(keys, ignore_index=True)[named]
    table = pd.concat([places, means], axis=1)
    has_interval = table["low"].notna()
    return (
        within_bounds(table)
        .assign(interval_kind=_kinds(table).where(has_interval, ""))
        .reindex(columns=ESTIMATES.names)
    )


def within_bounds(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose intervals do not leave what their quantity can be."""
    bounds = [QUANTITIES[name].bounds for name in table["quantity"]]
    lowest = pd.Series([low for low, _ in bounds], table.index, dtype=float)
    highest = pd.Series([high for _, high in bounds], table.index, dtype=float)
    return table.assign(low=table["low"].clip(lower=lowest), high=table["high"].clip(upper=highest))


def _kinds(table: pd.DataFrame) -> pd.Series:
    """Return the words for which errors each interval holds."""
    found = [
        interval_kind(QUANTITIES[name].units, is_seeded=is_seeded)
        for name, is_seeded in zip(table["quantity"], table["is_seeded"], strict=True)
    ]
    return pd.Series(found, index=table.index, dtype=object)


def interval_kind(units: str, *, is_seeded: bool) -> str:
    """Return the words for an interval over units that were sampled (empty: none), and seeds."""
    sampled = [f"{METHODS.get(units, 'bootstrap over')} {units}"] if units else []
    return " and ".join([*sampled, *(["seeds"] if is_seeded else [])])


def seed_means(
    rows: pd.DataFrame,
    family: list[str],
    state: list[str],
    confidence: float,
    is_sampled: pd.Series,
) -> pd.DataFrame:
    """Return the mean over seeds of every state of every family, in the order of the rows.

    Args:
        rows: the columns of ``family`` and ``state``, seed (null for what is measured before
            learning), is_trained, value, low and high.
        family: columns; those alike in them share the spread between seeds.
        state: columns that name a state of a family. The spread is pooled over those of trained
            checkpoints; where there are none, over all.
        confidence: of the intervals.
        is_sampled: of every row whether its value is of a sample, whose error its interval is; else
            all the error there is lies between the seeds.

    Returns:
        value, low, high, num_seeds (null before learning; those whose value is not defined do not
        count), and is_seeded: whether the interval holds the error between seeds.
    """
    families = _numbered(rows[family])
    states = _numbered(rows[[*family, *state]])
    seeds = rows["seed"].astype("Int64").fillna(BEFORE_LEARNING).to_numpy(int)
    values = rows["value"].to_numpy(float)
    bounds = rows[["low", "high"]].to_numpy(float)
    bounds = np.where(is_sampled.to_numpy(bool)[:, None], bounds, values[:, None])
    is_trained = rows["is_trained"].to_numpy(bool)
    found: list[dict[str, object]] = [{}] * (states.max(initial=-1) + 1)
    for members in _parts(families):
        defined = members[~np.isnan(values[members])]
        pooled = defined[is_trained[defined]] if is_trained[defined].any() else defined
        spread = spread_within_states(_wide(states[pooled], seeds[pooled], values[pooled]))
        for own in _parts(states[members]):
            runs = members[own]
            known = runs[~np.isnan(values[runs])]
            estimate = (
                mean(values[known], bounds[known], spread, confidence) if len(known) else UNKNOWN
            )
            is_seeded = bool((seeds[runs] != BEFORE_LEARNING).any())
            found[states[runs[0]]] = {
                **dict(zip(NUMBERS, estimate, strict=True)),
                "num_seeds": len(known) if is_seeded else pd.NA,
                "is_seeded": is_seeded and spread.freedom > 0,
            }
    columns = [*NUMBERS, "num_seeds", "is_seeded"]
    return pd.DataFrame(found, columns=columns).astype({"num_seeds": "Int64"})


def _numbered(names: pd.DataFrame) -> np.ndarray:
    """Return a number for every row, from 0 in the order of first appearance; null is a name."""
    return names.groupby(list(names), dropna=False, sort=False).ngroup().to_numpy()


def _parts(names: np.ndarray) -> list[np.ndarray]:
    """Return the places of each name that occurs."""
    order = np.argsort(names, kind="stable")
    ends = np.flatnonzero(np.diff(names[order])) + 1
    return [part for part in np.split(order, ends) if len(part)]


def _wide(states: np.ndarray, seeds: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """Return values (states, seeds), NaN where a state has no run of a seed."""
    rows, row = np.unique(states, return_inverse=True)
    columns, column = np.unique(seeds, return_inverse=True)
    wide = np.full((len(rows), len(columns)), np.nan)
    wide[row, column] = values
    return pd.DataFrame(wide)
