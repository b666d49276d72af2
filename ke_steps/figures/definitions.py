"""What a caption says of each quantity that its figure shows, and of the passages it is told of."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

_K = (
    "K: mean log probability of a probe's target, over the probes of a passage, then over passages;"
    " higher is better."
)
_P = "P: accuracy, mean over the retention tasks."
_NORM = "Norms are of all parameters."
DEFINITIONS = {
    "positive_entropy_nats": "Positive part: of coefficients above zero alone.",
    "relu_gate_entropy_nats": (
        "ReLU: of coefficients with it in place of the model's activation (the paper's figure 9)."
    ),
    "contribution_entropy_nats": (
        "Contributions count the length of the memory vector; no rescaling of a memory and its keys"
        " against each other changes them."
    ),
    "attribution_entropy_nats": (
        "Attributions, the coefficient times the gradient of the next-token loss by it, do not"
        " change with a rescaling of a memory and its keys."
    ),
    "attention_entropy_nats": (
        "Attention: the entropy of the attention of one position over those that it sees, mean over"
        " positions and heads, summed over layers."
    ),
    "next_token_entropy_nats": (
        "Next token: the entropy of the predictive distribution, mean over positions and instances."
    ),
    "dormant_at_0.025": "Dormant: a mean |c| of at most τ times the layer's mean.",
    "participation_ratio": (
        "The participation ratio, mean over layers, tells in how many directions the coefficients c"
        " vary."
    ),
    "weight_norm": _NORM,
    "gradient_norm": _NORM,
    "sensitivity_nats": (
        "Sensitivity: by how much the held-out loss rises with noise whose norm is γ times that of"
        " each tensor."
    ),
    "early_loss_fall_nats": "The first five steps are those of learning with the first recipe.",
    "acquisition": (
        "Acquisition A: the relative reduction of the negative log probability of probes on"
        " injected knowledge; negative means that they became less likely."
    ),
    "forgetting": "Forgetting F: the relative loss of accuracy on the retention tasks.",
    "performance_before": _K,
    "performance_after": _K,
    "accuracy_before": _P,
    "accuracy_after": _P,
}
"""By quantity, in the order of captions."""

CONDITIONS = {
    "paraphrase": "Paraphrase: passages that every injection repeats in other words.",
    "once": "Once: passages that one injection shows.",
}
"""By condition of the passages."""


def definitions(data: pd.DataFrame) -> Iterator[str]:
    """Yield what stands for the quantities and conditions among the rows of a figure, once each."""
    quantities = set(data["quantity"]) if "quantity" in data else set()
    yield from dict.fromkeys(words for name, words in DEFINITIONS.items() if name in quantities)
    named = set(data["condition"]) if "condition" in data else set()
    if "group" in data:
        named |= {str(group).partition("/")[0] for group in data["group"]}
    yield from (words for name, words in CONDITIONS.items() if name in named)
