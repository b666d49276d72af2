"""The seam to transformers' attention: what is shown, and what stays as it is."""

import inspect
from operator import attrgetter

import pytest
import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ke_steps.checkpoints.families import find_family
from ke_steps.models.attention import observing
from tests.invented.models import FAMILIES, NUM_LAYERS, build_model, random_sequences

WINDOWED = ("olmo3", "mistral", "gemma2", "gemma3_text", "phi3")
CASES = [
    (family, implementation)
    for family in FAMILIES
    for implementation in ("sdpa", "eager")
    if (family, implementation) != ("gemma2", "sdpa")  # which knows no cap on scores
]
INPUT_IDS = torch.from_numpy(random_sequences(3, 16)).long()


def build_windowed(family="olmo", implementation="sdpa", *, seed=0):
    window = {"sliding_window": 5} if family in WINDOWED else {}
    model = build_model(family, seed=seed, **window)
    model.set_attn_implementation(implementation)
    return model


def hidden_states(model):
    with torch.inference_mode():
        return model.base_model(INPUT_IDS, use_cache=False).last_hidden_state


def tables():
    """Return the very functions that all models of transformers share, by name."""
    return [dict(ALL_ATTENTION_FUNCTIONS), dict(ALL_MASK_ATTENTION_FUNCTIONS)]


def given_masks(model):
    """Return the mask that each layer's attention module is given in a plain pass."""
    family = find_family(type(model).__name__, where="test")
    modules = [
        attrgetter(family.attention)(layer) for layer in attrgetter(family.layers)(model.base_model)
    ]
    masks = []

    def keep(module, positional, keywords):
        given = inspect.signature(module.forward).bind(*positional, **keywords)
        masks.append(given.arguments.get("attention_mask"))

    hooks = [module.register_forward_pre_hook(keep, with_kwargs=True) for module in modules]
    hidden_states(model)
    for hook in hooks:
        hook.remove()
    return masks


@pytest.mark.parametrize(("family", "implementation"), CASES)
def test_outputs_and_masks_are_the_models(family, implementation):
    model = build_windowed(family, implementation)
    plain, masks = hidden_states(model), given_masks(model)
    shown = []
    with observing(model, shown.append):
        observed = hidden_states(model)
    assert torch.equal(observed, plain)
    assert [attention.layer for attention in shown] == list(range(NUM_LAYERS))
    for attention, mask in zip(shown, masks, strict=True):
        assert (attention.mask is None) == (mask is None)
        if mask is not None:
            assert attention.mask.dtype == mask.dtype
            assert torch.equal(attention.mask, mask)
    if implementation == "eager":
        assert all(mask.is_floating_point() for mask in masks)
    elif family in WINDOWED:
        assert any(mask is not None and mask.dtype == torch.bool for mask in masks)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_tables_that_all_models_share_are_not_touched(implementation):
    before = tables()
    during = []
    model = build_windowed(implementation=implementation)
    with observing(model, lambda _: during.append(tables())):
        hidden_states(model)
    assert len(during) == NUM_LAYERS
    for found in [*during, tables()]:
        for functions, usual in zip(found, before, strict=True):
            assert functions.keys() == usual.keys()
            assert all(functions[name] is usual[name] for name in usual)
    assert "eager" not in ALL_ATTENTION_FUNCTIONS


def test_only_the_model_that_is_observed_is_seen():
    observed, other = build_windowed(), build_windowed(seed=1)
    plain = hidden_states(other)
    shown = []
    with observing(observed, shown.append):
        assert other.config._attn_implementation == "sdpa"
        assert torch.equal(hidden_states(other), plain)
    assert not shown


def test_two_models_at_once_do_not_meet():
    """Of two families, in passes that alternate, each observer sees its own model alone."""
    models = [build_windowed("olmo"), build_windowed("gemma2", "eager")]
    alone = []
    for model in models:
        shown = []
        with observing(model, shown.append):
            hidden_states(model)
        alone.append(shown)
    together = [[], []]
    with observing(models[0], together[0].append), observing(models[1], together[1].append):
        hidden_states(models[1])
        hidden_states(models[0])
    for shown, expected in zip(together, alone, strict=True):
        assert len(shown) == len(expected)
        for found, wanted in zip(shown, expected, strict=True):
            assert torch.equal(found.query, wanted.query)
            assert torch.equal(found.key, wanted.key)
            assert found.softcap == wanted.softcap


def test_one_observed_model_stays_so_when_another_is_done():
    first, second = build_windowed(), build_windowed(seed=1)
    shown = []
    with observing(first, shown.append):
        with observing(second, shown.append):
            pass
        hidden_states(first)
    assert len(shown) == NUM_LAYERS


@pytest.mark.parametrize(("family", "usual"), [("olmo", "sdpa"), ("gemma2", "eager")])
def test_the_config_is_as_it_was_also_after_an_error(family, usual):
    model = build_windowed(family, usual)
    plain, shown = hidden_states(model), []

    def fail(attention):
        shown.append(attention)
        raise ArithmeticError

    with pytest.raises(ArithmeticError), observing(model, fail):
        assert model.config._attn_implementation != usual
        hidden_states(model)
    assert model.config._attn_implementation == usual
    assert torch.equal(hidden_states(model), plain)
    assert len(shown) == 1
