"""Fits of decay within probes: against regressions with an intercept for each, and in simulations.

The simulated runs have the schedule of the embedded study: twenty passages, two of them with each
injection, so that the first is seen ten intervals longer than the last.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from ke_steps.formulas.bootstrap import basic_interval, bootstrap_weights
from ke_steps.formulas.decay_fits import fit_exponential, fit_power_law

INTERVAL, NUM_STEPS, NUM_PASSAGES, NUM_PROBES = 3, 60, 20, 3
A, K = 0.1, 0.02
LAWS = {
    "power": (fit_power_law, lambda level, t: level - A * np.log(t), A),
    "exponential": (fit_exponential, lambda level, t: level * np.exp(-K * t), K),
}


def simulate(law, generator, *, trend, noise):
    """Return the points of a run in which how much is kept depends on when a passage entered.

    ``trend`` is by how much the last passage's level is above the first one's; a probe's own level
    varies around that by 0.1, each of its points by ``noise``.
    """
    rows = []
    for passage in range(NUM_PASSAGES):
        injection = 1 + passage // 2
        steps = np.arange(INTERVAL * injection, NUM_STEPS + 1, INTERVAL)[1:]
        t = steps - INTERVAL * injection
        for probe in range(NUM_PROBES):
            level = 0.7 + trend * (injection - 5.5) / 9 + 0.1 * generator.normal()
            values = law(level, t) + noise * generator.normal(size=len(t))
            number = passage * NUM_PROBES + probe
            rows += [(number, passage, *point) for point in zip(t, values, strict=True)]
    points = pd.DataFrame(rows, columns=["probe_id", "passage", "steps_since", "retained"])
    return points.assign(gain=1.0)


def scattered(law, generator, *, missing=0.3):
    """Return few points of seven passages, each probe with its own gaps."""
    rows = []
    for passage in range(7):
        for probe in range(2):
            level = generator.uniform(0.3, 1.5)
            for t in (1, 2, 5, 9, 30, 80):
                if generator.random() > missing:
                    value = law(level, t) + 0.05 * generator.normal()
                    rows.append((2 * passage + probe, passage, t, value))
    points = pd.DataFrame(rows, columns=["probe_id", "passage", "steps_since", "retained"])
    return points.assign(gain=points["probe_id"].map(lambda probe: 0.5 + 0.2 * probe))


def resampled(num_passages, num_bootstrap, seed):
    """Return weights of passages, the estimate's in row 0."""
    even = np.full(num_passages, 1 / num_passages)
    return np.vstack([even, bootstrap_weights(num_passages, num_bootstrap, seed)])


def through_all(points, weights):
    """Return a of the one line through all points, whichever probe they are of, by weights."""
    x, y = np.log(points["steps_since"]), points["retained"]
    shares = weights[:, points["passage"]]
    return np.array([-np.polyfit(x, y, 1, w=np.sqrt(row))[0] for row in shares])


def test_the_power_law_is_a_regression_with_an_intercept_for_each_probe():
    points = scattered(LAWS["power"][1], np.random.default_rng(0))
    weights = resampled(7, 3, seed=1)
    slopes, r_squared = fit_power_law(points, weights)
    intercepts = pd.get_dummies(points["probe_id"]).to_numpy(dtype=float)
    design = np.column_stack([np.log(points["steps_since"]), intercepts])
    for row, weight in enumerate(weights):
        root = np.sqrt(weight[points["passage"]]) * points["gain"].to_numpy()
        y = root * points["retained"].to_numpy()
        found, *_ = np.linalg.lstsq(root[:, None] * design, y)
        assert slopes[row] == pytest.approx(-found[0])
        constants, *_ = np.linalg.lstsq(root[:, None] * intercepts, y)
        left = ((y - root * (design @ found)) ** 2).sum()
        around = ((y - root * (intercepts @ constants)) ** 2).sum()
        assert r_squared[row] == pytest.approx(1 - left / around)


@pytest.mark.parametrize("rate", [0.02, 0.5, -0.01])
def test_the_exponential_is_a_regression_with_a_level_for_each_probe(rate):
    def law(level, t):
        return level * np.exp(-rate * t)

    points = scattered(law, np.random.default_rng(2))
    weights = resampled(7, 3, seed=3)
    rates, r_squared = fit_exponential(points, weights)
    probes = points["probe_id"].astype("category").cat.codes.to_numpy()
    t, y = points["steps_since"].to_numpy(), points["retained"].to_numpy()
    for row, weight in enumerate(weights):
        w = weight[points["passage"]] * points["gain"].to_numpy() ** 2

        def residuals(parameters, w=w):
            return np.sqrt(w) * (parameters[1:][probes] * np.exp(-parameters[0] * t) - y)

        start = [rate, *np.ones(probes.max() + 1)]
        bounds = [-np.inf, *np.zeros(probes.max() + 1)], np.inf
        found = least_squares(residuals, start, bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        assert rates[row] == pytest.approx(found.x[0], rel=1e-4)
        around = sum(
            (w[of] * (y[of] - y[of].mean()) ** 2).sum()
            for of in (probes == probe for probe in set(probes))
        )
        assert r_squared[row] == pytest.approx(1 - 2 * found.cost / around, abs=1e-6)


@pytest.mark.parametrize(("trend", "misled"), [(-0.5, 0.054), (0.5, 0.146)])
def test_what_passages_keep_when_they_enter_is_no_decay(trend, misled):
    """The line through all points is misled and sure of itself; a probe's own line is not."""
    points = simulate(LAWS["power"][1], np.random.default_rng(4), trend=trend, noise=0.05)
    weights = resampled(NUM_PASSAGES, 400, seed=5)
    mixed, (within, _) = through_all(points, weights), fit_power_law(points, weights)
    assert mixed[0] == pytest.approx(misled, abs=0.01)
    low, high = basic_interval(mixed[0], mixed[1:], 0.95)
    assert not low <= A <= high
    low, high = basic_interval(within[0], within[1:], 0.95)
    assert low <= A <= high
    assert high - low < 0.02


@pytest.mark.parametrize(("name", "num_runs"), [("power", 300), ("exponential", 100)])
def test_intervals_hold_the_constant_about_as_often_as_they_say(name, num_runs):
    fit, law, true = LAWS[name]
    held = []
    for seed in range(num_runs):
        points = simulate(law, np.random.default_rng(seed), trend=0.3, noise=0.1)
        estimates, _ = fit(points, resampled(NUM_PASSAGES, 200, seed))
        low, high = basic_interval(estimates[0], estimates[1:], 0.95)
        held.append(low <= true <= high)
    # twenty passages are few for a bootstrap, and a hundred runs tell shares to about 4 points
    assert 0.88 <= np.mean(held) <= 0.99


def test_probes_with_their_own_gaps_have_the_planted_constants():
    generator = np.random.default_rng(6)
    points = scattered(lambda level, t: 0 * level * t, generator)
    level = dict(enumerate(generator.uniform(0.3, 1.5, size=14)))
    own, t = points["probe_id"].map(level), points["steps_since"]
    weights = resampled(7, 5, seed=7)
    for law, planted in (
        (fit_power_law, points.assign(retained=own - 0.07 * np.log(t))),
        (fit_exponential, points.assign(retained=own * np.exp(-0.07 * t))),
    ):
        constants, r_squared = law(planted, weights)
        np.testing.assert_allclose(constants, 0.07, rtol=1e-6)
        np.testing.assert_allclose(r_squared, 1, rtol=1e-6)


def test_a_probe_that_falls_below_where_it_began_has_not_risen_exponentially():
    """Of -0.1, -0.2, -0.4 a negative level with a negative rate would be an exact fit."""
    points = pd.DataFrame(
        {
            "probe_id": [0] * 4 + [1] * 4,
            "passage": 0,
            "gain": 1.0,
            "steps_since": [3, 6, 9, 12] * 2,
            "retained": [-0.1, -0.2, -0.4, -0.8, 0.8, 0.4, 0.2, 0.1],
        }
    )
    rates, r_squared = fit_exponential(points, np.ones((1, 1)))
    assert rates[0] == pytest.approx(np.log(2) / 3)
    assert r_squared[0] < 0


@pytest.mark.parametrize("fit", [fit_power_law, fit_exponential])
def test_single_points_tell_nothing(fit):
    rows = [(0, 0, 5, 0.8), (1, 0, 9, 0.5), (2, 1, 7, 0.4)]
    points = pd.DataFrame(rows, columns=["probe_id", "passage", "steps_since", "retained"])
    points["gain"] = 1.0
    for these in (points, points[:0]):
        constants, r_squared = fit(these, resampled(3, 2, seed=0))
        assert np.isnan([constants, r_squared]).all()


def test_a_resample_without_two_points_of_a_probe_is_undefined():
    rows = [(0, 0, 2, 0.8), (0, 0, 4, 0.5), (0, 0, 8, 0.3), (2, 1, 7, 0.4)]
    points = pd.DataFrame(rows, columns=["probe_id", "passage", "steps_since", "retained"])
    points["gain"] = 1.0
    for fit in (fit_power_law, fit_exponential):
        constants, _ = fit(points, np.array([[0.5, 0.5], [0.0, 1.0]]))
        assert constants[0] > 0
        assert np.isnan(constants[1])


@pytest.mark.parametrize(
    "values", [[0.9, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.9]]
)
def test_rates_beyond_what_the_probings_resolve_are_undefined(values):
    points = pd.DataFrame(
        {
            "probe_id": 0,
            "passage": 0,
            "gain": 1.0,
            "steps_since": [3, 6, 9, 12],
            "retained": values,
        }
    )
    rates, r_squared = fit_exponential(points, np.ones((1, 1)))
    assert np.isnan([*rates, *r_squared]).all()


@pytest.mark.parametrize(("name", "bound"), [("power", 0.01), ("exponential", 0.002)])
def test_what_gained_next_to_nothing_does_not_rule(name, bound):
    """Noise is of ℓ: of a gain of 0.01 nats it leaves an R of any size."""
    fit, law, true = LAWS[name]
    generator = np.random.default_rng(8)
    points = simulate(law, generator, trend=0.0, noise=0.0)
    gain = points["probe_id"].map(lambda probe: 0.01 if probe % 3 == 0 else 1.0)
    noise = 0.05 * generator.normal(size=len(points))
    noisy = points.assign(gain=gain, retained=points["retained"] + noise / gain)
    assert noisy["retained"].abs().max() > 10
    weights = resampled(NUM_PASSAGES, 2, seed=9)
    assert fit(noisy, weights)[0][0] == pytest.approx(true, abs=bound)
    assert fit(noisy.assign(gain=1.0), weights)[0][0] != pytest.approx(true, abs=bound)
