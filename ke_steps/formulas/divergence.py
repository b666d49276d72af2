"""When a training run counts as diverged: its numbers left the finite, or its loss only grew."""

from __future__ import annotations

import numpy as np
import pandas as pd

END_FRACTION = 0.1
"""The first and the last part of the steps whose mean losses are compared."""

MAX_RISE_NATS = 1.0
"""A mean loss that ends further above where it began has diverged, though finite."""


def diverged_at(training: pd.DataFrame) -> int | None:
    """Return the step at which a run diverged; None if it did not.

    Args:
        training: a frame of ``learning_schemas.TRAINING``, a row per step.

    Returns:
        The first step whose loss or gradient norm is not a finite number; or the last step of all
        when the mean loss of the last tenth of the steps is more than 1 nat above that of the
        first tenth (each at least one step).
    """
    is_finite = np.isfinite(training[["loss_nats", "gradient_norm"]].to_numpy(float)).all(axis=1)
    steps = training["train_step"]
    if not is_finite.all():
        return int(steps[~is_finite].iloc[0])
    losses = training["loss_nats"]
    num_ends = max(1, round(END_FRACTION * len(losses)))
    rise = losses.tail(num_ends).mean() - losses.head(num_ends).mean()
    return int(steps.iloc[-1]) if rise > MAX_RISE_NATS else None
