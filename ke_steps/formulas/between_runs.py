"""Between runs of pretraining: does an outcome go with entropy, at the same steps?

y_rs = α_gs + β H_rs + γ·covariates_rs + u_r + e_rs for runs r at steps s. Every stratum g, of runs
that may stand for one another (seeds of one pretraining), has its own effect of each step: what
runs share, their clock and their settings, is in α. u_r is a random effect of the run.

- β: generalised least squares with the share of the run's effect by restricted maximum likelihood,
  as ``statsmodels``' ``MixedLM`` has it. Of a table without gaps that is least squares after
  centring within stratum and step, and taking a part of each run's own mean out (Baltagi,
  *Econometric Analysis of Panel Data*, section 2.3.1).
- p: the trajectories of runs are permuted whole within their strata, so that no assumption is made
  about what steps of a run have in common. Where there are covariates, what is permuted are the
  residuals beside them, and the statistic is the partial correlation (Freedman & Lane 1983; Winkler
  et al. 2014).
- The interval of β is from a bootstrap of whole runs within their strata.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from ke_steps.formulas.permutation import permutation_p_value
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate, student_quantile

Array = NDArray[np.float64]
Order = NDArray[np.int64]

SMALLEST_SHARE = 1e-8
"""Of the errors beside the run's effect in the variance of a run's mean."""

ROUNDING = 1e-10
"""What a regressor keeps beside the others, as a part of its square, that is nothing."""


class Panel(NamedTuple):
    """Runs at the same steps, without gaps."""

    outcome: Array
    """(runs, steps)."""
    entropy: Array
    """(runs, steps)."""
    covariates: Array
    """(num_covariates, runs, steps); of none, the shape begins with 0."""
    strata: Order
    """(runs,): a number for each stratum, from 0."""

    def alone(self) -> Panel:
        """Return the panel without covariates."""
        return self._replace(covariates=self.covariates[:0])


def centred(values: Array, strata: Order) -> Array:
    """Return values (…, runs, steps) less the mean of their stratum at each step."""
    members = strata[:, None] == np.arange(strata.max() + 1)
    means = np.einsum("rg,...rs->...gs", members / members.sum(axis=0), values)
    result: Array = values - means[..., strata, :]
    return result


def whitened(values: Array, share: float) -> Array:
    """Return values (…, runs, steps) of which run and errors are independent and alike.

    Args:
        values: centred ones.
        share: σ²_e / (σ²_e + steps · σ²_u), of the errors in the variance of a run's mean.
    """
    result: Array = values - (1 - math.sqrt(share)) * values.mean(axis=-1, keepdims=True)
    return result


def error_share(centred_values: Array, num_strata: int) -> float:
    """Return the share of ``whitened`` by restricted maximum likelihood.

    Args:
        centred_values: (1 + num_regressors, runs, steps): the outcome, then what explains it.
        num_strata: that they are centred in.
    """
    _, num_runs, num_steps = centred_values.shape
    means = centred_values.mean(axis=-1)
    between = num_steps * means @ means.T
    within = np.einsum("irs,jrs->ij", centred_values, centred_values) - between
    free_runs = num_runs - num_strata
    freedom = free_runs * num_steps - len(centred_values) + 1

    def deviance(log_share: float) -> float:
        products = within + math.exp(log_share) * between
        squares = products[0, 0] - products[0, 1:] @ _solved(products[1:, 1:], products[1:, 0])
        _, log_determinant = np.linalg.slogdet(products[1:, 1:])
        tiny = ROUNDING * products[0, 0]
        return float(
            freedom * math.log(max(squares, tiny, 1e-300)) - free_runs * log_share + log_determinant
        )

    found = optimize.minimize_scalar(
        deviance, bounds=(math.log(SMALLEST_SHARE), 0.0), method="bounded", options={"xatol": 1e-6}
    )
    ends = (float(found.x), 0.0)  # the search never reaches its bound: no effect of the run
    return math.exp(min(ends, key=deviance))


def _solved(matrices: Array, vectors: Array) -> Array:
    return np.asarray(np.linalg.solve(matrices, vectors[..., None])[..., 0], dtype=np.float64)


def slope(panel: Panel, num_bootstrap: int, seed: int, confidence: float) -> Estimate:
    """Return β with its interval; unknown where nothing is left beside steps, strata, covariates.

    The interval is Student's t times the standard deviation of β over resamples of whole runs
    within their strata, at the share of the run's effect that was found. Its degrees of freedom are
    those of the means of runs: quantiles of the resamples themselves are too narrow for eight runs.
    """
    values = _centred(panel)
    if not _varies(panel, values):
        return UNKNOWN
    num_strata = panel.strata.max() + 1
    values = whitened(values, error_share(values, num_strata))
    counts = _drawn_counts(panel.strata, num_bootstrap, seed)
    products = _products(values, panel.strata, np.vstack([np.ones(len(panel.strata)), counts]))
    scales = np.sqrt(np.diagonal(products[0]))
    products = products / np.outer(scales, scales)
    # A resample of one run alone, or of one in each stratum, has no slope.
    has_slope = np.linalg.det(products[:, 1:, 1:]) > ROUNDING
    slopes = _solved(products[has_slope, 1:, 1:], products[has_slope, 1:, 0])[:, 0]
    value, *resampled = slopes * scales[0] / scales[1]
    freedom = len(panel.strata) - int(num_strata) - len(values) + 1
    side = student_quantile((1 + confidence) / 2, freedom) * float(np.std(resampled, ddof=1))
    return Estimate(float(value), float(value) - side, float(value) + side, freedom)


def residuals(panel: Panel) -> tuple[Array, Array]:
    """Return what β is fitted to: entropy and outcome (runs, steps) beside all else, whitened.

    The line through them by least squares is β. The panel has one (``slope`` is known).
    """
    values = _centred(panel)
    values = whitened(values, error_share(values, panel.strata.max() + 1))
    flat = values.reshape(len(values), -1)
    outcome, entropy = (_beside(flat[2:], side).reshape(values[0].shape) for side in flat[:2])
    return entropy, outcome


def _beside(covariates: Array, values: Array) -> Array:
    """Return values (n,) less their projection on covariates (num_covariates, n)."""
    basis, _ = np.linalg.qr(covariates.T)
    result: Array = values - basis @ (basis.T @ values)
    return result


def _drawn_counts(strata: Order, num_bootstrap: int, seed: int) -> Array:
    """Return how often each run is in each resample (num_bootstrap, runs)."""
    generator = np.random.default_rng(seed)
    counts = np.empty((num_bootstrap, len(strata)))
    for members in _members(strata):
        evenly = np.full(len(members), 1 / len(members))
        counts[:, members] = generator.multinomial(len(members), evenly, size=num_bootstrap)
    return counts


def _products(values: Array, strata: Order, counts: Array) -> Array:
    """Return the products of all variables (resamples, variables, variables), centred anew."""
    products = np.einsum("br,irs,jrs->bij", counts, values, values, optimize=True)
    for members in _members(strata):
        sums = np.einsum("br,irs->bis", counts[:, members], values[:, members], optimize=True)
        products -= sums @ sums.transpose(0, 2, 1) / len(members)
    return products


def _members(strata: Order) -> list[Order]:
    return [np.flatnonzero(strata == stratum) for stratum in range(strata.max() + 1)]


def _centred(panel: Panel) -> Array:
    """Return the centred outcome, entropy and covariates (2 + num_covariates, runs, steps)."""
    return centred(_stacked(panel), panel.strata)


def _stacked(panel: Panel) -> Array:
    return np.concatenate([panel.outcome[None], panel.entropy[None], panel.covariates])


def _varies(panel: Panel, values: Array) -> bool:
    """Tell whether the outcome differs between runs, and each regressor from all the others."""
    lengths = np.linalg.norm(values, axis=(1, 2))
    if (lengths <= ROUNDING * np.linalg.norm(_stacked(panel), axis=(1, 2))).any():
        return False
    regressors = values[1:].reshape(len(values) - 1, -1) / lengths[1:, None]
    return bool(np.linalg.svd(regressors, compute_uv=False)[-1] ** 2 > ROUNDING)


def orders_of(strata: Order, num_orders: int, seed: int) -> Order:
    """Return orders of the runs within their strata (at most ``num_orders``, runs).

    All there are but the one observed where that many hold them, else as many drawn.
    """
    parts = _members(strata)
    if math.prod(math.factorial(len(part)) for part in parts) - 1 <= num_orders:
        every = itertools.product(*(itertools.permutations(part) for part in parts))
        orders = np.array([list(itertools.chain(*order)) for order in every])[1:]
        places = np.argsort(np.concatenate(parts))
        return orders.reshape(-1, len(strata))[:, places]
    generator = np.random.default_rng(seed)
    drawn = np.empty((num_orders, len(strata)), dtype=np.int64)
    for part in parts:
        drawn[:, part] = generator.permuted(np.tile(part, (num_orders, 1)), axis=1)
    return drawn


def slope_p_value(panel: Panel, orders: Order) -> float:
    """Return the two-sided p of β = 0 under orders of the runs (``orders_of``).

    The run's effect is weighed as without entropy, so that it is the same in every order. NaN where
    there is no slope.
    """
    values = _centred(panel)
    if not _varies(panel, values):
        return math.nan
    beside = np.delete(values, 1, axis=0)
    values = whitened(values, error_share(beside, panel.strata.max() + 1))
    flat = values.reshape(len(values), -1)
    outcome, entropy = (_beside(flat[2:], side) for side in flat[:2])
    outcome = outcome.reshape(panel.outcome.shape)
    square = float((outcome**2).sum())
    basis, _ = np.linalg.qr(flat[2:].T)
    sides = np.vstack([entropy / np.linalg.norm(entropy), basis.T])
    products = sides.reshape(len(sides), *outcome.shape) @ outcome.T  # (sides, runs, runs)
    every = np.vstack([np.arange(len(panel.strata)), orders])
    moved = products[:, np.arange(len(panel.strata)), every].sum(axis=-1)
    left = np.maximum(square - (moved[1:] ** 2).sum(axis=0), ROUNDING * square)
    correlations = moved[0] / np.sqrt(left)
    return permutation_p_value(float(correlations[0]), correlations[1:])
