"""Courses of the learning rate, in the training table of a real training, against closed forms."""

import numpy as np
import pytest
from pydantic import ValidationError

from ke_steps.settings.checkpoints import Nursery
from ke_steps.settings.learning import Training
from ke_steps.training.batches import TrainingSequences
from ke_steps.training.train import train
from tests.invented.models import build_model, random_sequences
from tests.invented.training import BATCH_SIZE, CPU, LENGTH, NUM_STEPS, TOKENIZER, optimisation

PEAK, RATIO = 1e-3, 0.1


def rates(**changes):
    plan = optimisation(learning_rate=PEAK, min_learning_rate_ratio=RATIO, **changes)
    data = TrainingSequences(random_sequences(NUM_STEPS * BATCH_SIZE, LENGTH), plan.num_sequences)
    trained = train(lambda *_: build_model(), data, plan, tokenizer=TOKENIZER, device=CPU)
    return [row["learning_rate"] for row in trained.rows]


def closed_form(*, num_warmup, num_decay):
    """Return a straight line up, a plateau, a straight line down, of 12 steps."""
    corners = [0, num_warmup, NUM_STEPS - num_decay, NUM_STEPS]
    heights = [0 if num_warmup else PEAK, PEAK, PEAK, PEAK * RATIO if num_decay else PEAK]
    return np.interp(range(1, NUM_STEPS + 1), corners, heights)


@pytest.mark.parametrize(("warmup_fraction", "num_warmup"), [(0.0, 0), (0.25, 3)])
def test_constant(warmup_fraction, num_warmup):
    found = rates(schedule="constant", warmup_fraction=warmup_fraction)
    np.testing.assert_allclose(found, closed_form(num_warmup=num_warmup, num_decay=0), rtol=1e-12)
    assert found[-1] == PEAK


@pytest.mark.parametrize(
    ("warmup_fraction", "decay_fraction", "num_warmup", "num_decay"),
    [
        (0.25, None, 3, 2),
        (0.25, 0.5, 3, 6),
        (0.0, 0.99, 0, 12),
        (0.5, 0.5, 6, 6),
        (0.25, 0.01, 3, 1),
    ],
)
def test_warmup_stable_decay(warmup_fraction, decay_fraction, num_warmup, num_decay):
    found = rates(
        schedule="warmup_stable_decay",
        warmup_fraction=warmup_fraction,
        decay_fraction=decay_fraction,
    )
    expected = closed_form(num_warmup=num_warmup, num_decay=num_decay)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[-1] == pytest.approx(PEAK * RATIO, rel=1e-12)


OF_LEARNING = {
    "corpus": "news",
    "num_steps": 12,
    "batch_size_sequences": 8,
    "micro_batch_size_sequences": 2,
    "learning_rate": 3e-4,
    "num_injections": 2,
    "injection_interval_steps": 1,
}


@pytest.mark.parametrize(("section", "said"), [(Nursery, {}), (Training, OF_LEARNING)])
def test_pretraining_and_learning_say_it_alike(section, said):
    for schedule in ("cosine", "constant"):
        with pytest.raises(ValidationError, match=f"0.3 has no meaning for schedule {schedule}"):
            section(**said, schedule=schedule, decay_fraction=0.3)
        assert section(**said, schedule=schedule, decay_fraction=None).decay_fraction is None
    for decay in ({}, {"decay_fraction": 0.3}):
        with pytest.raises(ValidationError, match="more than the whole of num_steps"):
            section(**said, schedule="warmup_stable_decay", warmup_fraction=0.9, **decay)
