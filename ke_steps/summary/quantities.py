"""What is measured: every quantity by name, and H, A, F, K and P as the rows of the summary."""

from __future__ import annotations

import math
from typing import NamedTuple

from ke_steps.job.errors import UserError


class Quantity(NamedTuple):
    """Unit and label; a *fraction* is shown in percent."""

    unit: str
    label: str


ACTIVITIES: dict[str, str] = {
    "positive": "positive coefficients",
    "contribution": "contributions |c|·‖v‖",
    "relu_gate": "coefficients with a ReLU gate",
    "attribution": "attributions |c·∂L/∂c|",
}
"""Measures of a memory's activity beside the paper's own, mean |c|, whose names have no prefix."""

VECTORS: dict[str, str] = {"memory": "memory vectors", "key": "keys"}
"""What continual learning changes in a memory."""


def _of_activity(words: str) -> dict[str, Quantity]:
    return {
        "entropy_nats": Quantity("nats", f"entropy H of {words}"),
        "normalized_entropy": Quantity("fraction", f"H / ln m of {words}"),
        "effective_number": Quantity("memories", f"effective number exp(H) of {words}"),
        "gini": Quantity("fraction", f"Gini coefficient of {words}"),
        "top_1_percent_share": Quantity("fraction", f"share of the most active 1 % of {words}"),
        "dormant_fraction": Quantity("fraction", f"dormant memories by {words}"),
    }


def _of_update(words: str) -> dict[str, Quantity]:
    return {
        "update_entropy_nats": Quantity("nats", f"entropy of the updates of {words}"),
        "update_normalized_entropy": Quantity("fraction", f"H / ln m of the updates of {words}"),
        "update_mean_relative": Quantity("fraction", f"mean relative update of {words}"),
        "update_correlation_pearson": Quantity("", f"Pearson r(update of {words}, mean |c|)"),
        "update_correlation_spearman": Quantity("", f"Spearman r(update of {words}, mean |c|)"),
    }


QUANTITIES: dict[str, Quantity] = {
    "entropy_nats": Quantity("nats", "knowledge entropy H"),
    "entropy_bound_nats": Quantity("nats", "upper bound L·ln m"),
    "normalized_entropy": Quantity("fraction", "H / ln m"),
    "effective_number": Quantity("memories", "effective number of memories exp(H)"),
    "gini": Quantity("fraction", "Gini coefficient of mean |c|"),
    "top_1_percent_share": Quantity("fraction", "share of the most active 1 %"),
    "dormant_fraction": Quantity("fraction", "dormant memories"),
    **{
        f"{activity}_{name}": quantity
        for activity, words in ACTIVITIES.items()
        for name, quantity in _of_activity(words).items()
    },
    "attention_entropy_nats": Quantity("nats", "attention entropy"),
    "next_token_entropy_nats": Quantity("nats", "next-token entropy"),
    "median_perplexity": Quantity("", "median perplexity of a document"),
    "performance_before": Quantity("nats", "K before"),
    "performance_after": Quantity("nats", "K after"),
    "acquisition": Quantity("fraction", "acquisition A"),
    "exact_match_before": Quantity("fraction", "exact match before"),
    "exact_match_after": Quantity("fraction", "exact match after"),
    "first_token_log_probability_before": Quantity("nats", "log p of the first token before"),
    "first_token_log_probability_after": Quantity("nats", "log p of the first token after"),
    "accuracy_before": Quantity("fraction", "P before"),
    "accuracy_after": Quantity("fraction", "P after"),
    "forgetting": Quantity("fraction", "forgetting F"),
    "bits_per_token_before": Quantity("bits", "bits per token before"),
    "bits_per_token_after": Quantity("bits", "bits per token after"),
    "training_loss": Quantity("nats", "final training loss"),
    **{
        f"{vector}_{name}": quantity
        for vector, words in VECTORS.items()
        for name, quantity in _of_update(words).items()
    },
    "effectivity": Quantity("nats", "effectivity"),
    "retainability": Quantity("fraction", "retainability"),
    "power_law_decay": Quantity("", "power-law decay constant"),
    "exponential_decay_per_step": Quantity("per step", "exponential decay constant"),
    "power_law_r_squared": Quantity("", "R² of the power law"),
    "exponential_r_squared": Quantity("", "R² of the exponential"),
}


def unit_of(quantity: str) -> str:
    """Return the unit of a quantity; an unknown name is refused."""
    if quantity not in QUANTITIES:
        raise UserError(f"unknown quantity {quantity!r}; known: {', '.join(QUANTITIES)}")
    return QUANTITIES[quantity].unit


WHOLE_MODEL = "model"
"""The group of what is measured on a model as a whole; ``layer 3`` is that of a layer."""

ALL_PROBES = "all/all"
"""The group over all conditions and kinds of probes; ``once/semantic`` is one of each."""

ALL_TASKS = "mean"
"""The group over all tasks; a task's name is its own."""


class Measure(NamedTuple):
    """What names the rows of the summary that are of one kind: a quantity, and of what group."""

    quantity: str
    group: str

    def of(self, group: str) -> Measure:
        """Return the same quantity of another group: a layer, a condition, a task."""
        return self._replace(group=group)

    @property
    def unit(self) -> str:
        """The unit of the values."""
        return unit_of(self.quantity)

    @property
    def label(self) -> str:
        """The name for a reader."""
        return QUANTITIES[self.quantity].label


ENTROPY = Measure("entropy_nats", WHOLE_MODEL)
"""H."""
ENTROPY_BOUND = Measure("entropy_bound_nats", WHOLE_MODEL)
ACQUISITION = Measure("acquisition", ALL_PROBES)
"""A."""
FORGETTING = Measure("forgetting", ALL_TASKS)
"""F."""
KNOWLEDGE_BEFORE = Measure("performance_before", ALL_PROBES)
KNOWLEDGE_AFTER = Measure("performance_after", ALL_PROBES)
"""K: log probability of the new knowledge."""
ACCURACY_BEFORE = Measure("accuracy_before", ALL_TASKS)
ACCURACY_AFTER = Measure("accuracy_after", ALL_TASKS)
"""P: accuracy on tasks that have nothing to do with it."""

OUTCOMES = (ACQUISITION, FORGETTING, KNOWLEDGE_AFTER, ACCURACY_AFTER)
"""What a learning run comes to."""

BEFORE_LEARNING = (ENTROPY, ACCURACY_BEFORE)
"""Measured once per checkpoint and variant: their rows name no recipe. K before is of a run."""


def difference_unit(unit: str) -> str:
    """Return the unit of a difference: two percentages differ by percentage points."""
    return "points" if unit == "fraction" else unit


def number(value: float, unit: str) -> str:
    """Write a value as a reader wants it, without its unit; fractions in percent."""
    match unit:
        case "fraction" | "points":
            words = f"{100 * value:.1f}"
        case "per step":
            words = f"{value:.5f}"
        case _:
            words = f"{value:.3f}"
    return words.replace("-", "−", 1)


def show(value: float, unit: str) -> str:
    """Write a value for a reader, with its unit; fractions in percent."""
    if math.isnan(value):
        return "undefined"
    return f"{number(value, unit)} {'%' if unit == 'fraction' else unit}".strip()
