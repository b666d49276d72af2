"""Which tensors of a file a model loads, and as which of its parameters: transformers' own rules.

Files name tensors in several ways for one model: with or without the base model's prefix, each
expert of a mixture apart or all in one, tied weights once or twice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain

from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)

from ke_steps.job.errors import UserError

_COMPUTED = re.compile(
    r"(.*\.)?((attn|attention)\.(masked_)?bias"
    r"|rotary_emb\.(inv_freq|cos_cached|sin_cached)"
    r"|position_ids)"
)


def is_computed(name: str) -> bool:
    """Tell whether a tensor is a mask, an index or a rotation that older versions stored.

    Models compute these from their config, and ignore them in a file.
    """
    return _COMPUTED.fullmatch(name) is not None


def loaded_names(model: PreTrainedModel, names: Iterable[str]) -> dict[str, list[str]]:
    """Return {name in the model's state: the tensors of a file that become it}.

    The tensors' values one after the other are the values of what they become. Names that are
    nowhere in the result are not loaded; of two for one place the second is not.

    Args:
        model: may be on the meta device.
        names: of all tensors of a checkpoint, in any order.

    Raises:
        UserError: a mixture has one matrix of an expert, but not the other.
    """
    transforms = get_model_conversion_mapping(model)
    renamings = [rule for rule in transforms if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in transforms if isinstance(rule, WeightConverter)]
    order = [pattern for rule in converters for pattern in rule.source_patterns]
    prefix, state = model.base_model_prefix, model.state_dict()
    found: dict[str, dict[str | None, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(names, key=dot_natural_key):
        place, pattern = rename_source_key(name, renamings, converters, prefix, state)
        if place not in state and name in state:
            place, pattern = name, None
        if place in state:
            found[place][pattern].append(name)
    return {
        place: groups[None][:1] or _expert_by_expert(place, [groups[name] for name in order])
        for place, groups in found.items()
    }


def _expert_by_expert(place: str, groups: list[list[str]]) -> list[str]:
    """Order the tensors of experts as the model stacks them: all of one expert, then the next."""
    kinds = sorted(filter(None, groups), key=len)
    fewest, most = kinds[0], kinds[-1]
    if len(fewest) < len(most):
        raise UserError(
            f"{place}: {len(most)} tensors as {most[0]}, but {len(fewest)} as {fewest[0]}: get all"
            " files of the model"
        )
    return list(chain.from_iterable(zip(*filter(None, groups), strict=True)))
