"""When a run counts as diverged."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from ke_steps.formulas.divergence import diverged_at


@pytest.mark.parametrize(
    ("losses", "norms", "expected"),
    [
        ([3.0, 2.0, 2.5], [1.0] * 3, None),
        ([3.0, math.nan, 2.0], [1.0] * 3, 2),
        ([3.0, 2.0, 2.0], [1.0, 1.0, math.inf], 3),
        ([3.0, 4.0], [1.0] * 2, None),
        ([3.0, 4.01], [1.0] * 2, 2),
        ([3.0, 3.0, *[9.0] * 16, 3.9, 3.9], [1.0] * 20, None),
        ([3.0, 3.0, *[2.0] * 16, 4.1, 4.1], [1.0] * 20, 20),
    ],
)
def test_a_run_diverges_by_its_numbers_or_by_its_course(losses, norms, expected) -> None:
    steps = range(1, len(losses) + 1)
    training = pd.DataFrame({"train_step": steps, "loss_nats": losses, "gradient_norm": norms})
    assert diverged_at(training) == expected


@pytest.mark.parametrize(("rise", "step"), [(0.9, None), (1.1, 20)])
def test_a_loss_that_rose_has_diverged_at_the_last_step(rise, step):
    losses = [2.0, 2.2, *[9.0] * 16, 2.1 + rise - 0.3, 2.1 + rise + 0.3]
    training = pd.DataFrame(
        {"train_step": range(1, 21), "loss_nats": losses, "gradient_norm": [1.0] * 20}
    )
    assert diverged_at(training) == step
    one_step = training.head(1)
    assert diverged_at(one_step) is None
    training.loc[4, "gradient_norm"] = math.inf
    training.loc[7, "loss_nats"] = math.nan
    assert diverged_at(training) == 5
