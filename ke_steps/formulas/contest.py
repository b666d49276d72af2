"""Does a predictor foretell an outcome of runs that were never seen, beyond its rivals?

A run of pretraining is left out, with all its stages. An outcome of the others is regressed on
predictors, with an effect of each family at each stage (α_gs, as in ``formulas.between_runs``), and
what that foretells of the run left out is compared with what it came to.

- Error: of each run left out the mean square over stages; of all, the mean over runs.
- p: how often a predictor that has nothing to do with the outcome reduces the error as much. What
  the predictor is beside its rivals is permuted, as whole runs within families; how large it is
  does not matter to a regression, as it would be for residuals of the outcome.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ke_steps.formulas.between_runs import ROUNDING, Order, Panel, centred
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate, student_quantile

Array = NDArray[np.float64]

ORDERS_AT_A_TIME = 500
"""In memory."""


class Contest(NamedTuple):
    """What a predictor adds to its rivals."""

    reduction: Estimate
    """1 − error with it / error without it: at most 1, negative where it makes the error larger."""
    p_value: float
    """One-sided, of a reduction as large; NaN where the predictor is nothing beside the others."""


def errors(outcome: Array, predictors: Array, strata: Order) -> Array:
    """Return the squared error (…, runs) of each run left out, mean over its stages.

    Leaving a run out of a family of n takes n / (n − 1) of its own products from those of all (the
    update of a scatter matrix), and it is n / (n − 1) times as far from the mean of the others.

    Args:
        outcome: (runs, steps).
        predictors: (…, num_predictors, runs, steps). What one of them is beside the others, and
            beside family and stage, may be nothing.
        strata: (runs,), of none of which a run is alone in.
    """
    y, x = centred(outcome, strata), _unit(centred(predictors, strata), predictors)
    sizes = np.bincount(strata)[strata]
    stretches = sizes / (sizes - 1)
    squares = np.einsum("...irs,...jrs->...rij", x, x)
    products = np.einsum("...irs,rs->...ri", x, y)
    squares = squares.sum(axis=-3, keepdims=True) - stretches[:, None, None] * squares
    products = products.sum(axis=-2, keepdims=True) - stretches[:, None] * products
    # what is nothing beside the others gets a slope of nothing, and the rest is as it was
    ridge = ROUNDING * np.eye(squares.shape[-1])
    slopes = np.linalg.solve(squares + ridge, products[..., None])[..., 0]
    foretold = np.einsum("...ri,...irs->...rs", slopes, x)
    found: Array = ((stretches[:, None] * (y - foretold)) ** 2).mean(axis=-1)
    return found


def _unit(values: Array, of: Array) -> Array:
    """Return values (…, runs, steps) of length 1; 0 where they are the rounding of ``of``."""
    lengths = np.linalg.norm(values, axis=(-2, -1), keepdims=True)
    least = ROUNDING * np.linalg.norm(of, axis=(-2, -1), keepdims=True)
    return np.divide(values, lengths, out=np.zeros_like(values), where=lengths > least)


def error_of(outcome: Array, predictors: Array, strata: Order) -> float:
    """Return the error, as a root mean square, of predictors (num_predictors, runs, steps)."""
    return math.sqrt(float(errors(outcome, predictors, strata).mean()))


def contest(panel: Panel, orders: Order, confidence: float) -> Contest:
    """Return what entropy adds to the covariates of a panel.

    The interval of the reduction is Student's t over the runs left out, of a ratio of means; it
    takes their errors for independent, so that p is needed beside it.

    Args:
        panel: none of its runs is alone in its stratum.
        orders: of whole runs within strata (``between_runs.orders_of``).
        confidence: of the interval.
    """
    beside = _beside(panel)
    rivals = panel.covariates
    before = errors(panel.outcome, rivals, panel.strata)
    if not beside.any() or before.sum() <= ROUNDING * float((panel.outcome**2).sum()):
        return Contest(UNKNOWN, math.nan)

    def reductions(orders: Order) -> Array:
        moved = beside[orders][..., None, :, :]
        with_rivals = np.broadcast_to(rivals, (*moved.shape[:-3], *rivals.shape))
        together = np.concatenate([with_rivals, moved], axis=-3)
        after = errors(panel.outcome, together, panel.strata)
        return 1 - after.sum(axis=-1) / before.sum()

    after = errors(panel.outcome, np.concatenate([rivals, beside[None]]), panel.strata)
    value = 1 - float(after.sum() / before.sum())
    chunks = np.array_split(orders, max(1, len(orders) // ORDERS_AT_A_TIME))
    as_large = sum(int((reductions(chunk) >= value - ROUNDING).sum()) for chunk in chunks)
    freedom = len(before) - 1
    spread = math.sqrt(float(((after - (1 - value) * before) ** 2).sum()) * len(before) / freedom)
    side = student_quantile((1 + confidence) / 2, freedom) * spread / float(before.sum())
    reduction = Estimate(value, value - side, min(value + side, 1.0), freedom)
    return Contest(reduction, (1 + as_large) / (1 + len(orders)))


def _beside(panel: Panel) -> Array:
    """Return entropy (runs, steps) beside covariates, family and stage; 0 where it is nothing."""
    covariates, entropy = (
        _unit(centred(each, panel.strata), each) for each in (panel.covariates, panel.entropy)
    )
    flat = covariates.reshape(len(covariates), entropy.size).T
    slopes = np.linalg.lstsq(flat, entropy.ravel(), rcond=math.sqrt(ROUNDING))[0]
    left = entropy - (flat @ slopes).reshape(entropy.shape)
    return left if (left**2).sum() > ROUNDING else np.zeros_like(left)
