"""What is measured: every quantity by name, and H, A, F, K and P as the rows of the summary."""

from __future__ import annotations

import math
from typing import NamedTuple

from ke_steps.artefacts.replicates import group_of_layer
from ke_steps.artefacts.rival_schemas import THRESHOLDS, dormant_at
from ke_steps.formulas.bootstrap import (
    ANYTHING,
    AT_MOST_ONE,
    CORRELATION,
    NOT_NEGATIVE,
    NOT_POSITIVE,
    PROPORTION,
    Bounds,
)
from ke_steps.job.errors import UserError
from ke_steps.summary.digits import SHOWN_IN_PERCENT


class Quantity(NamedTuple):
    """Unit and label; a *fraction* is shown in percent."""

    unit: str
    label: str
    bounds: Bounds = ANYTHING
    """The least and the greatest value that it can have."""
    units: str = ""
    """What is resampled for its interval; empty where nothing is."""


ACTIVITIES: dict[str, str] = {
    "positive": "positive coefficients",
    "contribution": "contributions |c|·‖v‖",
    "relu_gate": "coefficients with a ReLU gate",
    "attribution": "attributions |c·∂L/∂c|",
}
"""Measures of a memory's activity beside the paper's own, mean |c|, whose names have no prefix."""

VECTORS: dict[str, str] = {"memory": "memory vectors", "key": "keys"}
"""What continual learning changes in a memory."""


GROUPS = "groups of sequences"
"""What is resampled for an entropy."""


def _of_activity(words: str) -> dict[str, Quantity]:
    return {
        "entropy_nats": Quantity("nats", f"entropy H of {words}", NOT_NEGATIVE, GROUPS),
        "normalized_entropy": Quantity("fraction", f"H / ln m of {words}", PROPORTION, GROUPS),
        "effective_number": Quantity(
            "memories", f"effective number exp(H) of {words}", NOT_NEGATIVE, GROUPS
        ),
        "gini": Quantity("fraction", f"Gini coefficient of {words}", PROPORTION, GROUPS),
        "top_1_percent_share": Quantity(
            "fraction", f"share of the most active 1 % of {words}", PROPORTION, GROUPS
        ),
        "dormant_fraction": Quantity(
            "fraction", f"dormant memories by {words}", PROPORTION, GROUPS
        ),
    }


def _of_update(words: str) -> dict[str, Quantity]:
    pair = f"update of {words}, mean |c|"
    return {
        "update_entropy_nats": Quantity("nats", f"entropy of the updates of {words}", NOT_NEGATIVE),
        "update_normalized_entropy": Quantity(
            "fraction", f"H / ln m of the updates of {words}", PROPORTION
        ),
        "update_mean_relative": Quantity(
            "fraction", f"mean relative update of {words}", NOT_NEGATIVE
        ),
        "update_correlation_pearson": Quantity("", f"Pearson r({pair})", CORRELATION),
        "update_correlation_spearman": Quantity("", f"Spearman r({pair})", CORRELATION),
        "update_correlation_p_value": Quantity(
            "", f"permutation p of Spearman r({pair})", PROPORTION
        ),
    }


QUANTITIES: dict[str, Quantity] = {
    "entropy_nats": Quantity("nats", "knowledge entropy H", NOT_NEGATIVE, GROUPS),
    "entropy_bound_nats": Quantity("nats", "upper bound L·ln m", NOT_NEGATIVE),
    "uniform_log_probability": Quantity("nats", "K of the uniform distribution"),
    "normalized_entropy": Quantity("fraction", "H / ln m", PROPORTION, GROUPS),
    "effective_number": Quantity(
        "memories", "effective number of memories exp(H)", NOT_NEGATIVE, GROUPS
    ),
    "gini": Quantity("fraction", "Gini coefficient of mean |c|", PROPORTION, GROUPS),
    "top_1_percent_share": Quantity("fraction", "share of the most active 1 %", PROPORTION, GROUPS),
    "dormant_fraction": Quantity("fraction", "dormant memories", PROPORTION, GROUPS),
    **{
        f"{activity}_{name}": quantity
        for activity, words in ACTIVITIES.items()
        for name, quantity in _of_activity(words).items()
    },
    "attention_entropy_nats": Quantity("nats", "attention entropy", NOT_NEGATIVE, GROUPS),
    "next_token_entropy_nats": Quantity("nats", "next-token entropy", NOT_NEGATIVE, GROUPS),
    **{
        dormant_at(threshold): Quantity("fraction", f"dormant at τ = {threshold:g}", PROPORTION)
        for threshold in THRESHOLDS
    },
    "participation_ratio": Quantity("", "participation ratio of E[c cᵀ]", NOT_NEGATIVE),
    "effective_rank": Quantity("", "effective rank of E[c cᵀ]", NOT_NEGATIVE),
    "weight_norm": Quantity("", "norm of the weights", NOT_NEGATIVE),
    "gradient_norm": Quantity("nats", "norm of the gradient on new text", NOT_NEGATIVE),
    "held_out_loss_nats": Quantity("nats", "held-out loss", NOT_NEGATIVE),
    "sensitivity_nats": Quantity("nats", "sensitivity ΔL", ANYTHING, "draws of noise"),
    "early_loss_fall_nats": Quantity("nats", "fall of the loss in five steps"),
    "median_perplexity": Quantity("", "median perplexity of a document", NOT_NEGATIVE, "documents"),
    "performance_before": Quantity("nats", "K before", NOT_POSITIVE, "passages"),
    "performance_after": Quantity("nats", "K after", NOT_POSITIVE, "passages"),
    "acquisition": Quantity("fraction", "acquisition A", AT_MOST_ONE, "passages"),
    "acquisition_from_original": Quantity("fraction", "A*", AT_MOST_ONE, "passages"),
    "exact_match_before": Quantity("fraction", "exact match before", PROPORTION, "passages"),
    "exact_match_after": Quantity("fraction", "exact match after", PROPORTION, "passages"),
    "first_token_log_probability_before": Quantity(
        "nats", "log p of the first token before", NOT_POSITIVE, "passages"
    ),
    "first_token_log_probability_after": Quantity(
        "nats", "log p of the first token after", NOT_POSITIVE, "passages"
    ),
    "accuracy_before": Quantity("fraction", "P before", PROPORTION, "items"),
    "accuracy_after": Quantity("fraction", "P after", PROPORTION, "items"),
    "chance": Quantity("fraction", "chance", PROPORTION),
    "forgetting": Quantity("fraction", "forgetting F", AT_MOST_ONE, "items"),
    "forgetting_above_chance": Quantity("fraction", "F above chance", ANYTHING, "items"),
    "bits_per_token_before": Quantity("bits", "bits per token before", NOT_NEGATIVE, "sequences"),
    "bits_per_token_after": Quantity("bits", "bits per token after", NOT_NEGATIVE, "sequences"),
    "training_loss": Quantity("nats", "final training loss", NOT_NEGATIVE),
    "learning_contribution_entropy": Quantity(
        "fraction", "H / ln m of contributions in the last steps of learning", PROPORTION
    ),
    **{
        f"{vector}_{name}": quantity
        for vector, words in VECTORS.items()
        for name, quantity in _of_update(words).items()
    },
    "effectivity": Quantity("nats", "effectivity", ANYTHING, "passages"),
    "retainability": Quantity("fraction", "retainability", ANYTHING, "passages"),
    "power_law_decay": Quantity("", "power-law decay constant", ANYTHING, "passages"),
    "exponential_decay_per_step": Quantity(
        "per step", "exponential decay constant", ANYTHING, "passages"
    ),
    "power_law_r_squared": Quantity("", "R² of the power law", AT_MOST_ONE, "passages"),
    "exponential_r_squared": Quantity("", "R² of the exponential", AT_MOST_ONE, "passages"),
}


def unit_of(quantity: str) -> str:
    """Return the unit of a quantity; an unknown name is refused."""
    if quantity not in QUANTITIES:
        raise UserError(f"unknown quantity {quantity!r}; known: {', '.join(QUANTITIES)}")
    return QUANTITIES[quantity].unit


WHOLE_MODEL = group_of_layer(None)
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
CONTRIBUTION_ENTROPY = Measure("contribution_entropy_nats", WHOLE_MODEL)
"""H of contributions |c|·‖v‖, which no rescaling of a memory and its key can change."""
ENTROPY_BOUND = Measure("entropy_bound_nats", WHOLE_MODEL)
NORMALIZED_ENTROPY = Measure("normalized_entropy", WHOLE_MODEL)
DORMANT = Measure("dormant_fraction", WHOLE_MODEL)
ACQUISITION = Measure("acquisition", ALL_PROBES)
"""A."""
ACQUISITION_FROM_ORIGINAL = Measure("acquisition_from_original", ALL_PROBES)
"""A*: 1 - K after / K before of the original checkpoint, one denominator for all variants."""
FORGETTING = Measure("forgetting", ALL_TASKS)
"""F."""
FORGETTING_ABOVE_CHANCE = Measure("forgetting_above_chance", ALL_TASKS)
"""(P before - P after) / (P before - chance): of what can be forgotten, how much was."""
KNOWLEDGE_BEFORE = Measure("performance_before", ALL_PROBES)
KNOWLEDGE_AFTER = Measure("performance_after", ALL_PROBES)
"""K: log probability of the new knowledge."""
UNIFORM = Measure("uniform_log_probability", WHOLE_MODEL)
"""K of a model that knows nothing: -ln of its vocabulary's size."""
EXACT_MATCH_BEFORE = Measure("exact_match_before", ALL_PROBES)
EXACT_MATCH_AFTER = Measure("exact_match_after", ALL_PROBES)
ACCURACY_BEFORE = Measure("accuracy_before", ALL_TASKS)
ACCURACY_AFTER = Measure("accuracy_after", ALL_TASKS)
"""P: accuracy on tasks that have nothing to do with it."""
CHANCE = Measure("chance", ALL_TASKS)
"""The accuracy of who guesses."""
BITS_BEFORE = Measure("bits_per_token_before", "held_out")
BITS_AFTER = Measure("bits_per_token_after", "held_out")
LEARNING_ENTROPY = Measure("learning_contribution_entropy", WHOLE_MODEL)
"""What a dose of entropy acts on, told by the runs that have one."""

PARTICIPATION_RATIO = Measure("participation_ratio", WHOLE_MODEL)
EFFECTIVE_RANK = Measure("effective_rank", WHOLE_MODEL)
"""In how many directions coefficients vary, mean over layers."""
WEIGHT_NORM = Measure("weight_norm", WHOLE_MODEL)
GRADIENT_NORM = Measure("gradient_norm", WHOLE_MODEL)
HELD_OUT_LOSS = Measure("held_out_loss_nats", WHOLE_MODEL)
SENSITIVITY = "sensitivity_nats"
"""The quantity alone: its groups name the scale γ of the noise as well (``rival_schemas``)."""
EARLY_LOSS_FALL = Measure("early_loss_fall_nats", WHOLE_MODEL)

OUTCOMES = (ACQUISITION, FORGETTING, KNOWLEDGE_AFTER, ACCURACY_AFTER)
"""What a learning run comes to."""

RIVALS = (
    *(Measure(dormant_at(threshold), WHOLE_MODEL) for threshold in THRESHOLDS),
    PARTICIPATION_RATIO,
    EFFECTIVE_RANK,
    WEIGHT_NORM,
    GRADIENT_NORM,
    HELD_OUT_LOSS,
)
"""Beside sensitivity, what else could explain how a checkpoint learns and forgets."""

BEFORE_LEARNING = (ENTROPY, ACCURACY_BEFORE, BITS_BEFORE, *RIVALS)
"""Measured once per checkpoint and variant: their rows name no recipe. K before is of a run."""


def difference_unit(unit: str) -> str:
    """Return the unit of a difference: two percentages differ by percentage points."""
    return "points" if unit == "fraction" else unit


def number(value: float, unit: str, decimals: int | None = None) -> str:
    """Write a value as a reader wants it, without its unit; fractions in percent.

    ``decimals`` are what its interval supports (``digits.decimals_of``); a value without one has
    those that are usual for its unit.
    """
    if decimals is None:
        decimals = {"fraction": 1, "points": 1, "per step": 5}.get(unit, 3)
    scale = 100 if unit in SHOWN_IN_PERCENT else 1
    return f"{scale * value:,.{decimals}f}".replace("-", "−", 1)


def show(value: float, unit: str, decimals: int | None = None) -> str:
    """Write a value for a reader, with its unit; fractions in percent."""
    if math.isnan(value):
        return "undefined"
    return f"{number(value, unit, decimals)} {'%' if unit == 'fraction' else unit}".strip()


def show_p(p_value: float) -> str:
    """Write a p-value for a reader: no more than two digits, and none as 0."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
