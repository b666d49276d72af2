"""The temperature T of a model's attention, a setting of its forward pass: softmax(z / T).

z is what the softmax is given, but for the mask: products of queries and keys after all that the
architecture does to them (norms, rotations, clipping), scaled, and capped where it caps. So T
divides *after* a cap: cap · tanh(s / cap) / T, which is a cap of cap / T on scores s / T.

Every architecture's attention modules pass their ``scaling``, and their cap, to whichever function
of transformers computes the attention. These two numbers are set; parameters stay as they are.
"""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

from transformers import PreTrainedModel

from ke_steps.models.parts import family_of

KEY = "attention_temperature"
"""In the model's config, and so in ``config.json``, where the temperature is not 1."""


class _Plain(NamedTuple):
    """What an attention module has at temperature 1."""

    scaling: float
    cap: float | None


def temperature_of(model: PreTrainedModel) -> float:
    """Return the temperature of a model's attention."""
    return float(getattr(model.config, KEY, 1.0))


def set_temperature(model: PreTrainedModel, temperature: float) -> None:
    """Give all attention of a model a temperature, whatever it was before.

    Raises:
        UserError: the architecture is unknown.
    """
    family = family_of(model)
    for layer in attrgetter(family.layers)(model.base_model):
        module = attrgetter(family.attention)(layer)
        if not hasattr(module, "plain_scores"):
            module.plain_scores = _Plain(
                module.scaling, getattr(module, "attn_logit_softcapping", None)
            )
        plain = module.plain_scores
        module.scaling = plain.scaling / temperature
        if plain.cap is not None:
            module.attn_logit_softcapping = plain.cap / temperature
    if temperature != 1:
        setattr(model.config, KEY, temperature)
    elif hasattr(model.config, KEY):
        delattr(model.config, KEY)
