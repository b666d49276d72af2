"""The regression between runs: closed forms, statsmodels' mixed model, its level and its power."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from ke_steps.formulas.between_runs import (
    Array,
    Order,
    Panel,
    centred,
    error_share,
    orders_of,
    residuals,
    slope,
    slope_p_value,
    whitened,
)

NUM_STEPS = 5
LEVEL = 0.95
NUM_STUDIES = 500
AT_MOST = 0.05 + 2.58 * math.sqrt(0.05 * 0.95 / NUM_STUDIES)
"""The share of decided studies that a level of 5 % exceeds in one of 200 tests."""


def trajectories(rng: np.random.Generator, num_runs: int, *, of_run: float, memory: float) -> Array:
    """Return (runs, steps): an effect of the run, and a course in which each step recalls the last.

    ``of_run`` is the standard deviation of the effect, that of the course is 1.
    """
    noise = rng.normal(size=(num_runs, NUM_STEPS))
    for step in range(1, NUM_STEPS):
        new = math.sqrt(1 - memory**2) * noise[:, step]
        noise[:, step] = memory * noise[:, step - 1] + new
    return noise + of_run * rng.normal(size=(num_runs, 1))


def panel(
    rng: np.random.Generator,
    strata: Order,
    *,
    beta: float = 0.0,
    of_run: float = 1.0,
    memory: float = 0.0,
    with_loss: bool = False,
) -> Panel:
    """Return runs that share a steep trend and their family's; loss moves entropy and outcome."""
    of_family = 3 * rng.normal(size=(2, strata.max() + 1, NUM_STEPS))[:, strata]
    trend = np.linspace(0, 4, NUM_STEPS)
    entropy, outcome, loss = (
        trajectories(rng, len(strata), of_run=of_run, memory=memory) for _ in range(3)
    )
    entropy = 10 - trend + of_family[0] + entropy + with_loss * loss
    outcome = -5 - trend + of_family[1] + outcome + beta * entropy - with_loss * 2 * loss
    return Panel(outcome, entropy, loss[None][: int(with_loss)], strata)


def families(num_runs: int, size: int) -> Order:
    return np.arange(num_runs) // size


def dummies(made: Panel) -> tuple[Array, Array]:
    """Return the outcome (rows,) and entropy, covariates and dummies (rows, columns) of a panel."""
    num_runs, num_steps = made.outcome.shape
    cells = np.add.outer(made.strata * num_steps, np.arange(num_steps)).ravel()
    cell_dummies = (cells[:, None] == np.unique(cells)).astype(float)
    explaining = [made.entropy.ravel(), *made.covariates.reshape(-1, num_runs * num_steps)]
    return made.outcome.ravel(), np.column_stack([*explaining, cell_dummies])


def value_of(made: Panel) -> float:
    return slope(made, 100, 0, LEVEL).value


@pytest.mark.parametrize("with_loss", [False, True])
@pytest.mark.parametrize("size", [4, 12])
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_the_slope_is_that_of_a_regression_on_dummies(size, share, with_loss):
    """Generalised least squares with the whole covariance matrix written out."""
    made = panel(np.random.default_rng(3), families(12, size), beta=0.5, with_loss=with_loss)
    y, x = dummies(made)
    block = np.eye(NUM_STEPS) + (1 / share - 1) / NUM_STEPS
    inverse = np.kron(np.eye(12), np.linalg.inv(block))
    expected = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)[0]
    stacked = np.stack([made.outcome, made.entropy, *made.covariates])
    values = whitened(centred(stacked, made.strata), share).reshape(len(stacked), -1)
    assert np.linalg.lstsq(values[1:].T, values[0])[0][0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("with_loss", [False, True])
@pytest.mark.parametrize("size", [4, 12])
@pytest.mark.parametrize("of_run", [1.0, 3.0])
def test_slope_and_run_effect_agree_with_statsmodels(of_run, size, with_loss):
    made = panel(
        np.random.default_rng(5), families(12, size), beta=0.5, of_run=of_run, with_loss=with_loss
    )
    y, x = dummies(made)
    runs = np.repeat(np.arange(12), NUM_STEPS)
    fitted = MixedLM(y, x, groups=runs).fit(reml=True, method="bfgs", gtol=1e-8)
    assert fitted.converged
    assert value_of(made) == pytest.approx(fitted.fe_params[0], rel=1e-4)
    stacked = np.stack([made.outcome, made.entropy, *made.covariates])
    share = error_share(centred(stacked, made.strata), made.strata.max() + 1)
    of_means = NUM_STEPS * float(np.squeeze(fitted.cov_re)) / fitted.scale
    assert share == pytest.approx(1 / (1 + of_means), rel=1e-2)


def test_without_an_effect_of_the_run_it_is_ordinary_least_squares():
    """Runs whose means are alike: restricted maximum likelihood ends at its bound."""
    made = panel(np.random.default_rng(1), families(8, 8), beta=0.5, of_run=0.0)
    made = made._replace(outcome=made.outcome - made.outcome.mean(axis=1, keepdims=True))
    made = made._replace(entropy=made.entropy - made.entropy.mean(axis=1, keepdims=True))
    y, x = dummies(made)
    assert value_of(made) == pytest.approx(np.linalg.lstsq(x, y)[0][0], rel=1e-9)


def test_p_counts_every_order_of_whole_runs():
    """By brute force: dummies, the run's effect as it is without entropy, all 4! orders."""
    made = panel(np.random.default_rng(2), families(4, 4), beta=0.4)
    outcome = centred(made.outcome[None], made.strata)
    share = error_share(outcome, 1)

    def strength(order: tuple[int, ...]) -> float:
        moved = centred(made.entropy[list(order)], made.strata)
        x, y = (whitened(values, share).ravel() for values in (moved, outcome[0]))
        return abs(float(x @ y))

    every = [strength(order) for order in itertools.permutations(range(4))]
    expected = np.mean([each >= every[0] - 1e-9 for each in every])
    orders = orders_of(made.strata, 1000, 0)
    assert len(orders) == 23
    assert slope_p_value(made, orders) == pytest.approx(expected)


@pytest.mark.parametrize("num_orders", [35, 34])
def test_orders_stay_within_families_and_are_all_or_drawn(num_orders):
    strata = np.array([0, 1, 0, 1, 0, 1])
    orders = orders_of(strata, num_orders, 0)
    assert (strata[orders] == strata).all()
    assert (np.sort(orders, axis=1) == np.arange(6)).all()
    assert len(orders) == num_orders
    is_exact = num_orders == 3 * 2 * 3 * 2 - 1
    assert (len(np.unique(orders, axis=0)) == num_orders) == is_exact
    assert (orders == np.arange(6)).all(axis=1).any() != is_exact
    assert (orders_of(strata, num_orders, 0) == orders).all()


WORLDS = {
    "runs alike but for noise": {"of_run": 0.0},
    "effects of the run": {"of_run": 2.0},
    "autocorrelated": {"of_run": 1.0, "memory": 0.9},
    "with loss": {"of_run": 1.0, "memory": 0.9, "with_loss": True},
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("num_runs", "size"), [(8, 8), (8, 4), (24, 24), (24, 3)])
def test_without_an_effect_at_most_one_study_of_twenty_is_decided(num_runs, size, world):
    rng = np.random.default_rng(num_runs + size)
    strata = families(num_runs, size)
    orders = orders_of(strata, 399, 0)
    decided = [
        slope_p_value(panel(rng, strata, **WORLDS[world]), orders) < 1 - LEVEL
        for _ in range(NUM_STUDIES)
    ]
    assert 0 < np.mean(decided) < AT_MOST


def test_the_same_studies_are_decided_by_a_correlation_over_all_points():
    """The shared trend alone does that: what the test above would see if stages had no effect."""
    rng = np.random.default_rng(0)
    made = [panel(rng, families(24, 24)) for _ in range(50)]
    p_values = [stats.pearsonr(each.entropy.ravel(), each.outcome.ravel()).pvalue for each in made]
    assert np.mean(np.array(p_values) < 1 - LEVEL) > 0.5


@pytest.mark.parametrize("with_loss", [False, True])
def test_the_line_through_the_residuals_is_the_slope(with_loss):
    made = panel(np.random.default_rng(6), families(12, 4), beta=0.5, with_loss=with_loss)
    entropy, outcome = (side.ravel() for side in residuals(made))
    assert np.polyfit(entropy, outcome, 1) == pytest.approx([value_of(made), 0.0], abs=1e-9)
    steps_and_families = centred(np.stack(residuals(made)), made.strata).reshape(2, -1)
    assert steps_and_families == pytest.approx(np.stack([entropy, outcome]), abs=1e-9)


@pytest.mark.parametrize(("num_runs", "size", "power"), [(8, 8, 0.6), (24, 24, 0.98), (24, 3, 0.9)])
def test_a_slope_that_is_there_is_found(num_runs, size, power):
    rng = np.random.default_rng(0)
    strata = families(num_runs, size)
    orders = orders_of(strata, 399, 0)
    made = [
        panel(rng, strata, beta=0.7, of_run=1.0, memory=0.5, with_loss=True) for _ in range(100)
    ]
    assert np.mean([slope_p_value(each, orders) < 1 - LEVEL for each in made]) >= power
    found = np.array([slope(each, 400, 0, LEVEL)[:3] for each in made])
    assert found[:, 0].mean() == pytest.approx(0.7, abs=0.05)
    holds = (found[:, 1] <= 0.7) & (found[:, 2] >= 0.7)
    assert holds.mean() >= LEVEL - 2.58 * math.sqrt(0.05 * 0.95 / 100)


@pytest.mark.parametrize("kept", ["entropy", "outcome"])
def test_what_is_alike_in_all_runs_has_no_slope(kept):
    made = panel(np.random.default_rng(0), families(8, 8))
    alike = np.tile(getattr(made, kept)[0], (8, 1)) + 0.1
    made = made._replace(**{kept: alike})
    assert math.isnan(value_of(made))
    assert math.isnan(slope_p_value(made, orders_of(made.strata, 99, 0)))


def test_entropy_that_is_the_loss_itself_has_no_slope():
    made = panel(np.random.default_rng(0), families(8, 8), with_loss=True)
    made = made._replace(covariates=2 - 3 * made.entropy[None])
    assert math.isnan(value_of(made))
    assert not math.isnan(value_of(made.alone()))
    assert math.isnan(slope_p_value(made, orders_of(made.strata, 99, 0)))


def test_the_interval_is_of_whole_runs_and_the_same_each_time():
    """A bootstrap of whole runs by hand, with a regression on dummies for each resample."""
    made = panel(np.random.default_rng(4), families(8, 8), of_run=0.0)
    made = made._replace(outcome=made.outcome - made.outcome.mean(axis=1, keepdims=True))
    made = made._replace(entropy=made.entropy - made.entropy.mean(axis=1, keepdims=True))
    rng = np.random.default_rng(0)
    slopes = []
    for _ in range(1000):
        drawn = rng.integers(8, size=8)
        y, x = dummies(made._replace(outcome=made.outcome[drawn], entropy=made.entropy[drawn]))
        slopes.append(np.linalg.lstsq(x, y)[0][0])
    found = slope(made, 4000, 0, LEVEL)
    assert found == slope(made, 4000, 0, LEVEL)
    assert found.freedom == 6
    assert (found.high - found.low) / 2 / 2.4469 == pytest.approx(np.std(slopes), rel=0.1)
