"""Participation ratio, effective rank and dormancy: closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ke_steps.formulas.spectrum import (
    dormant_fraction,
    effective_rank,
    participation_ratio,
    squared_norm_of_sample,
)


def moments_of(spectrum: list[float]) -> np.ndarray:
    """Return a matrix with these eigenvalues, in a random basis."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(len(spectrum), len(spectrum))))
    return np.asarray(basis * spectrum @ basis.T)


@pytest.mark.parametrize(
    ("spectrum", "ratio", "rank"),
    [
        ([3.0, 3.0, 3.0, 3.0], 4.0, 4.0),
        ([5.0, 0.0, 0.0, 0.0], 1.0, 1.0),
        ([2.0, 2.0, 0.0, 0.0], 2.0, 2.0),
        ([2.0, 1.0, 1.0, 0.0], 16 / 6, math.exp(0.5 * math.log(2) + 0.5 * math.log(4))),
    ],
)
def test_ranks_of_known_spectra(spectrum, ratio, rank):
    moments = moments_of(spectrum)
    squared_norm = squared_norm_of_sample(np.diagonal(moments), moments)
    assert squared_norm == pytest.approx(float((np.array(spectrum) ** 2).sum()))
    assert participation_ratio(float(np.trace(moments)), squared_norm) == pytest.approx(ratio)
    assert effective_rank(np.linalg.eigvalsh(moments)) == pytest.approx(rank)


def test_of_coefficients_that_are_all_zero_nothing_is_defined():
    assert math.isnan(participation_ratio(0.0, 0.0))
    assert math.isnan(effective_rank(np.zeros(3)))
    assert np.isnan(dormant_fraction(np.zeros((2, 3)), 0.0)).all()


def test_rounding_below_zero_counts_as_zero():
    assert effective_rank(np.array([1.0, 1.0, -1e-9])) == pytest.approx(2.0)


def test_the_squared_norm_of_a_sample_is_unbiased():
    """Over all samples of 3 of 6 memories the mean is the norm of the whole, exactly."""
    moments = moments_of([5.0, 3.0, 2.0, 1.0, 0.5, 0.1])
    found = [
        squared_norm_of_sample(np.diagonal(moments), moments[np.ix_(rows, rows)])
        for rows in itertools.combinations(range(6), 3)
    ]
    assert np.ptp(found) > 0.1
    assert np.mean(found) == pytest.approx(float((moments**2).sum()))


def test_a_memory_at_the_threshold_is_dormant():
    activity = np.array([0.0, 0.1, 1.0, 2.9, 1.0])  # mean 1
    assert dormant_fraction(activity, 0.0) == pytest.approx(1 / 5)
    assert dormant_fraction(activity, 0.025) == pytest.approx(1 / 5)
    assert dormant_fraction(activity, 0.1) == pytest.approx(2 / 5)
