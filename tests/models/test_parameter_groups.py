"""The parameters of every family by what they are part of."""

from __future__ import annotations

import pytest

from ke_steps.models.parameter_groups import parameter_groups
from tests.invented.models import FAMILIES, build_model

PARTS = ("embeddings", "attention", "feed_forward")
WORDS = {
    "embeddings": ("embed", "wte", "wpe", "lm_head"),
    "attention": ("self_attn.", "attention.", "attn."),
    "feed_forward": ("mlp.",),
}
"""What the names of a part's parameters hold, in transformers."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_but_those_of_norms_is_in_one_part(family):
    model = build_model(family)
    groups = parameter_groups(model)
    assert list(groups) == ["model", *PARTS]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert [id(each) for each in groups["model"]] == list(names)
    found = {part: [names[id(each)] for each in groups[part]] for part in PARTS}
    for part, members in found.items():
        assert members, part
        assert len(set(members)) == len(members)
        assert all(any(word in name for word in WORDS[part]) for name in members), part
    placed = [name for members in found.values() for name in members]
    assert len(set(placed)) == len(placed)
    left = set(names.values()) - set(placed)
    assert all("norm" in name or ".ln_" in name for name in left), left
