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
