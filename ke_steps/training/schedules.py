"""The learning rate of every step of a training.

In step s of N, the first W of warm-up, it is the peak times s / W, and from there on

- cosine: falls on half a cosine, to reach ``min_learning_rate_ratio`` r exactly at step N;
- constant: the peak;
- warmup_stable_decay: the peak, but for the last D steps, where it falls on a straight line, to
  reach r exactly at step N (Hägele et al. 2024, arXiv 2405.18392, with a linear cooldown).

The reference's warm-up starts at 10 % of the peak instead. transformers' own schedules of the last
two begin and end elsewhere (a first step at 0 or at r, no step at r): arms of a study that differ
in the schedule would differ in the warm-up too.
"""

from __future__ import annotations

from functools import partial
from typing import assert_never

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import get_scheduler

from ke_steps.training.batches import Optimisation


def build_schedule(optimizer: Optimizer, plan: Optimisation) -> LRScheduler:
    """Return what sets the learning rates of an optimiser whose own rate is the peak."""
    match plan.schedule:
        case "cosine":
            return _cosine(optimizer, plan, plan.min_learning_rate_ratio)
        case "constant":  # a cosine without amplitude
            return _cosine(optimizer, plan, 1.0)
        case "warmup_stable_decay":
            return LambdaLR(optimizer, partial(_stable_factor, plan=plan))
    assert_never(plan.schedule)


def _cosine(optimizer: Optimizer, plan: Optimisation, min_ratio: float) -> LRScheduler:
    return get_scheduler(
        "cosine_warmup_with_min_lr",
        optimizer,
        num_warmup_steps=plan.num_warmup_steps,
        num_training_steps=plan.num_steps,
        scheduler_specific_kwargs={"min_lr_rate": min_ratio},
    )


def _stable_factor(num_done: int, plan: Optimisation) -> float:
    """Return the part of the peak in the step after ``num_done`` others."""
    step = num_done + 1
    rising = step / plan.num_warmup_steps if plan.num_warmup_steps else 1.0
    ratio = plan.min_learning_rate_ratio
    falling = ratio + (1 - ratio) * (plan.num_steps - step) / plan.num_decay_steps
    return min(rising, 1.0, falling)
