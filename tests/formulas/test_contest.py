"""The contest of predictors: against refits by hand, its level and its power."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ke_steps.formulas.between_runs import Array, Order, Panel, orders_of
from ke_steps.formulas.contest import contest, error_of

NUM_STEPS = 4
LEVEL = 0.95
NUM_STUDIES = 400
AT_MOST = 0.05 + 2.58 * math.sqrt(0.05 * 0.95 / NUM_STUDIES)


def families(num_runs: int, size: int) -> Order:
    return np.arange(num_runs) // size


def panel(
    rng: np.random.Generator,
    strata: Order,
    *,
    beta: float,
    through_rivals: float = 0.0,
    of_run: float = 1.0,
    memory: float = 0.5,
) -> Panel:
    """Return runs whose outcome moves with two rivals and by ``beta`` with entropy.

    Entropy moves with the first rival as well (``through_rivals``). All have effects of the run, a
    course in which each step recalls the last, and those of family and stage.
    """

    def course() -> Array:
        noise = rng.normal(size=(len(strata), NUM_STEPS))
        for step in range(1, NUM_STEPS):
            noise[:, step] = memory * noise[:, step - 1] + math.sqrt(1 - memory**2) * noise[:, step]
        shared = 5 * rng.normal(size=(strata.max() + 1, NUM_STEPS))[strata]
        return noise + of_run * rng.normal(size=(len(strata), 1)) + shared

    rivals = np.stack([course(), course()])
    entropy = course() + through_rivals * rivals[0]
    outcome = course() + 2 * rivals[0] - rivals[1] + beta * entropy
    return Panel(outcome, entropy, rivals, strata)


def refitted(outcome: Array, predictors: Array, strata: Order) -> float:
    """Return the error by hand: dummies of family and stage, a regression for each run left out."""
    num_runs, num_steps = outcome.shape
    cells = np.add.outer(strata * num_steps, np.arange(num_steps))
    dummies = (cells[..., None] == np.unique(cells)).astype(float)
    x = np.concatenate([dummies, np.moveaxis(predictors, 0, -1)], axis=-1)
    squares = []
    for run in range(num_runs):
        others = np.delete(np.arange(num_runs), run)
        flat = x[others].reshape(-1, x.shape[-1])
        slopes = np.linalg.lstsq(flat, outcome[others].ravel())[0]
        squares.append(((outcome[run] - x[run] @ slopes) ** 2).mean())
    return math.sqrt(np.mean(squares))


@pytest.mark.parametrize(("num_runs", "size"), [(8, 8), (8, 4), (9, 3)])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_error_is_that_of_a_regression_for_each_run_left_out(num_runs, size, number):
    made = panel(np.random.default_rng(0), families(num_runs, size), beta=0.5)
    chosen = made.covariates[:number]
    expected = refitted(made.outcome, chosen, made.strata)
    assert error_of(made.outcome, chosen, made.strata) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("num_rivals", [0, 1, 2])
def test_the_reduction_is_of_the_mean_squared_error(num_rivals):
    made = panel(np.random.default_rng(1), families(12, 4), beta=0.8)
    made = made._replace(covariates=made.covariates[:num_rivals])
    both = np.concatenate([made.covariates, made.entropy[None]])
    without, together = (refitted(made.outcome, x, made.strata) for x in (made.covariates, both))
    found = contest(made, orders_of(made.strata, 99, 0), LEVEL)
    assert found.reduction.value == pytest.approx(1 - together**2 / without**2, rel=1e-7)
    assert found.reduction.low < found.reduction.value < found.reduction.high <= 1
    assert found == contest(made, orders_of(made.strata, 99, 0), LEVEL)


WORLDS = {
    "runs alike but for noise": {"of_run": 0.0, "memory": 0.0},
    "effects of the run": {"of_run": 2.0},
    "autocorrelated": {"memory": 0.9},
    "entropy is mostly a rival": {"through_rivals": 3.0},
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("num_runs", "size"), [(8, 8), (8, 4), (24, 3)])
def test_where_entropy_tells_nothing_new_at_most_one_study_of_twenty_is_decided(
    num_runs, size, world
):
    rng = np.random.default_rng(num_runs + size)
    strata = families(num_runs, size)
    orders = orders_of(strata, 199, 0)
    p_values = [
        contest(panel(rng, strata, beta=0.0, **WORLDS[world]), orders, LEVEL).p_value
        for _ in range(NUM_STUDIES)
    ]
    assert 0 < np.mean(np.array(p_values) < 1 - LEVEL) < AT_MOST


@pytest.mark.parametrize(
    ("num_runs", "size", "power"), [(8, 8, 0.5), (24, 24, 0.95), (24, 3, 0.75)]
)
def test_where_it_does_that_is_found(num_runs, size, power):
    rng = np.random.default_rng(0)
    strata = families(num_runs, size)
    orders = orders_of(strata, 199, 0)
    found = [contest(panel(rng, strata, beta=1.0), orders, LEVEL) for _ in range(100)]
    decided = [each.p_value < 1 - LEVEL and each.reduction.low > 0 for each in found]
    assert np.mean(decided) >= power


def test_entropy_that_is_its_rivals_has_no_place_beside_them():
    made = panel(np.random.default_rng(0), families(8, 8), beta=1.0)
    made = made._replace(entropy=3 * made.covariates[0] - made.covariates[1] + 7)
    found = contest(made, orders_of(made.strata, 99, 0), LEVEL)
    assert math.isnan(found.p_value)
    assert math.isnan(found.reduction.value)


@pytest.mark.parametrize("kept", ["entropy", "outcome"])
def test_what_is_alike_in_all_runs_decides_nothing(kept):
    made = panel(np.random.default_rng(0), families(8, 4), beta=1.0)
    made = made._replace(**{kept: np.full_like(made.entropy, 0.3)})
    assert math.isnan(contest(made, orders_of(made.strata, 99, 0), LEVEL).p_value)


def test_a_rival_that_is_alike_in_all_runs_changes_nothing():
    made = panel(np.random.default_rng(2), families(8, 4), beta=1.0)
    more = np.concatenate([made.covariates, np.full_like(made.entropy[None], 0.1)])
    orders = orders_of(made.strata, 99, 0)
    found, expected = (
        contest(each, orders, LEVEL) for each in (made._replace(covariates=more), made)
    )
    assert found.reduction == pytest.approx(expected.reduction, rel=1e-6)
    assert found.p_value == expected.p_value
