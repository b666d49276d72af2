"""Second moments of coefficients against those of activations that were kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ke_steps.measuring.instances import gather_instances
from ke_steps.measuring.second_moments import drawn_memories, measure_second_moments
from ke_steps.models.feed_forward import feed_forward
from tests.invented.models import (
    FAMILIES,
    NUM_LAYERS,
    NUM_MEMORIES,
    build_model,
    random_sequences,
)

LENGTHS = np.array([16, 9, 16, 4, 12])


def instances_of(lengths=LENGTHS):
    input_ids = random_sequences(len(lengths), 16)
    return gather_instances(input_ids, lengths, padding="exclude", num_groups=1)


def measured(model, max_memories=NUM_MEMORIES, batch_size_sequences=2):
    return measure_second_moments(
        model,
        instances_of(),
        batch_size_sequences=batch_size_sequences,
        max_memories=max_memories,
        seed=0,
    )


@torch.no_grad()
def kept_moments(model):
    """Return E[c cᵀ] (layers, m, m): every coefficient of every token kept, one text at a time."""
    layers, instances = feed_forward(model), instances_of()
    moments = torch.zeros(NUM_LAYERS, NUM_MEMORIES, NUM_MEMORIES, dtype=torch.float64)
    for row, length in zip(instances.input_ids, LENGTHS, strict=True):
        whole = torch.zeros(NUM_LAYERS, int(length), NUM_MEMORIES, dtype=torch.float64)

        def keep(observed, whole=whole):
            memories = slice(
                observed.first_memory, observed.first_memory + observed.values.shape[-1]
            )
            if observed.routed is None:
                whole[observed.layer, :, memories] = observed.values[0]
            else:
                whole[observed.layer, observed.routed[:, 1], memories] = observed.values.double()

        with layers.observing(keep):
            model(input_ids=row[None, : int(length)])
        moments += torch.einsum("lti,ltj->lij", whole, whole) / length / len(LENGTHS)
    return moments.numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_those_of_activations_that_were_kept(family):
    model = build_model(family).eval()
    expected = kept_moments(model)
    assert np.abs(expected).max() > 0
    for (squares, products), moments in zip(measured(model), expected, strict=True):
        np.testing.assert_allclose(products, moments, rtol=1e-4, atol=1e-6 * np.trace(moments))
        np.testing.assert_allclose(squares, np.diagonal(moments), rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "olmoe"])
def test_of_many_memories_those_drawn_have_the_same_moments(family):
    model = build_model(family).eval()
    drawn = drawn_memories(NUM_MEMORIES, 20, 0)
    assert len(set(drawn.tolist())) == 20
    for whole, part in zip(measured(model), measured(model, 20), strict=True):
        np.testing.assert_allclose(
            part.products, whole.products[np.ix_(drawn, drawn)], rtol=1e-4, atol=1e-9
        )
        np.testing.assert_array_equal(part.squares, whole.squares)


def test_they_are_the_same_each_time_and_in_any_batches():
    model = build_model("olmo").eval()
    first, again, alone = measured(model), measured(model), measured(model, batch_size_sequences=1)
    for one, two, three in zip(first, again, alone, strict=True):
        assert torch.equal(one.products, two.products)
        np.testing.assert_allclose(one.products, three.products, rtol=1e-4, atol=1e-9)
