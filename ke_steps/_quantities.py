"""The measured quantities by name: the unit of each, and how it is written for a reader."""

from __future__ import annotations

from typing import NamedTuple

from ke_steps._errors import UserError


class Quantity(NamedTuple):
    """Unit and label; a *fraction* is shown in percent."""

    unit: str
    label: str


QUANTITIES: dict[str, Quantity] = {
    "entropy_nats": Quantity("nats", "knowledge entropy H"),
    "entropy_bound_nats": Quantity("nats", "upper bound L·ln m"),
    "normalized_entropy": Quantity("fraction", "H / ln m"),
    "effective_number": Quantity("memories", "effective number of memories exp(H)"),
    "gini": Quantity("fraction", "Gini coefficient of mean |c|"),
    "top_1_percent_share": Quantity("fraction", "share of the most active 1 %"),
    "dormant_fraction": Quantity("fraction", "dormant memories"),
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
}


def unit_of(quantity: str) -> str:
    """Return the unit of a quantity; an unknown name is refused."""
    if quantity not in QUANTITIES:
        raise UserError(f"unknown quantity {quantity!r}; known: {', '.join(QUANTITIES)}")
    return QUANTITIES[quantity].unit


def difference_unit(unit: str) -> str:
    """Return the unit of a difference: two percentages differ by percentage points."""
    return "points" if unit == "fraction" else unit


def show(value: float, unit: str) -> str:
    """Write a value for a reader, with its unit; fractions in percent."""
    number = f"{100 * value:.1f}" if unit in ("fraction", "points") else f"{value:.3f}"
    words = f"{number} {'%' if unit == 'fraction' else unit}".strip()
    return words.replace("-", "−", 1) if value < 0 else words
