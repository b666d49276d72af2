"""The parameters of a model by what they are part of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from torch import nn
from transformers import PreTrainedModel

from ke_steps.artefacts.replicates import group_of_layer
from ke_steps.checkpoints.families import find_family

Groups = dict[str, Sequence[nn.Parameter]]


def parameter_groups(model: PreTrainedModel) -> Groups:
    """Return the parameters of the whole model, of its embeddings, attention and feed-forward.

    Each parameter once, in the model's order. Embeddings are of tokens and positions, with the
    head. Norms between these parts are in the whole model alone.

    Raises:
        UserError: the architecture is unknown.
    """
    family = find_family(type(model).__name__, where="model")
    blocks = attrgetter(family.layers)(model.base_model)
    attention, feed_forward = (
        [getattr(block, name.partition(".")[0]) for block in blocks]
        for name in (family.queries, family.output)
    )
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    parts: dict[str, Iterable[nn.Module]] = {
        "embeddings": [*embeddings, model.get_output_embeddings()],
        "attention": attention,
        "feed_forward": feed_forward,
    }
    every = list(model.parameters())
    groups: Groups = {group_of_layer(None): every}
    for name, modules in parts.items():
        members = {id(each) for module in modules for each in module.parameters()}
        groups[name] = [each for each in every if id(each) in members]
    return groups
