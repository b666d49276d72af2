"""Sensitivity on a quadratic model whose Hessian is known, and gradient norms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ke_steps.measuring.perturbation import gradient_norms, loss_rises, norm_of
from ke_steps.models.parameter_groups import parameter_groups
from tests.invented.models import FAMILIES, build_model, random_sequences

SEEDS = list(range(400))


class Quadratic:
    """L = gᵀθ + ½ Σ_l (θ_l − θ*_l)ᵀ A_l (θ_l − θ*_l) over two tensors, around any point."""

    def __init__(self, slope=0.0):
        generator = torch.Generator().manual_seed(0)
        shapes = [(4, 5), (30,)]
        self.tensors = [
            torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes
        ]
        self.minimum = [each.clone() for each in self.tensors]
        roots = [
            torch.randn(each.numel(), each.numel(), generator=generator, dtype=torch.float64)
            for each in self.tensors
        ]
        self.hessians = [root @ root.T for root in roots]
        self.slopes = [
            slope * torch.randn(each.numel(), generator=generator, dtype=torch.float64)
            for each in self.tensors
        ]

    def loss(self):
        total = 0.0
        for tensor, minimum, hessian, slope in zip(
            self.tensors, self.minimum, self.hessians, self.slopes, strict=True
        ):
            away = (tensor - minimum).flatten()
            total += float(slope @ away + away @ hessian @ away / 2)
        return total

    def expected_rise(self, scale):
        """½ γ² Σ_l ‖θ_l‖² tr(A_l) / n_l, as E[ε εᵀ] / ‖ε‖² = 1 / n; slopes cancel."""
        return sum(
            scale**2 * float(minimum.square().sum()) * float(hessian.trace()) / len(hessian) / 2
            for minimum, hessian in zip(self.minimum, self.hessians, strict=True)
        )


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_the_mean_rise_of_a_quadratic_loss_is_the_trace_of_its_hessian(slope):
    model = Quadratic(slope)
    scales = [0.1, 0.5]
    rises = loss_rises(model.tensors, model.loss, model.loss(), scales, SEEDS)
    assert rises.shape == (2, len(SEEDS))
    for scale, draws in zip(scales, rises, strict=True):
        error = draws.std(ddof=1) / np.sqrt(len(draws))
        assert draws.mean() == pytest.approx(model.expected_rise(scale), abs=4 * error)
        assert error < 0.1 * model.expected_rise(0.5)


def test_each_draw_is_the_loss_at_noise_of_that_norm_in_every_tensor():
    """Of isotropic Hessians a·1 every draw gives ½ γ² Σ a ‖θ_l‖² exactly."""
    model = Quadratic()
    model.hessians = [
        3.0 * torch.eye(len(hessian), dtype=torch.float64) for hessian in model.hessians
    ]
    rises = loss_rises(model.tensors, model.loss, 0.0, [0.2], SEEDS[:5])
    norm = norm_of(model.minimum)
    assert norm == pytest.approx(np.sqrt(sum(float(each.square().sum()) for each in model.minimum)))
    np.testing.assert_allclose(rises, 1.5 * 0.2**2 * norm**2, rtol=1e-12)


def test_a_group_alone_moves_nothing_else_and_ends_as_it_was():
    model = Quadratic(1.0)
    alone = loss_rises(model.tensors[:1], model.loss, model.loss(), [0.3], SEEDS)
    model.hessians[1] *= 100
    assert (alone == loss_rises(model.tensors[:1], model.loss, model.loss(), [0.3], SEEDS)).all()
    for tensor, before in zip(model.tensors, model.minimum, strict=True):
        assert torch.equal(tensor, before)


def test_directions_are_the_same_at_every_scale_and_differ_between_draws():
    small, large = loss_rises(
        (model := Quadratic(1.0)).tensors, model.loss, model.loss(), [0.1, 0.3], SEEDS[:6]
    )
    np.testing.assert_allclose(large, 9 * small, rtol=1e-6)
    assert len(np.unique(small)) == 6


def test_a_slope_cancels_in_every_draw():
    with_slope, without = Quadratic(5.0), Quadratic(0.0)
    found, expected = (
        loss_rises(model.tensors, model.loss, model.loss(), [0.2], SEEDS[:6])
        for model in (with_slope, without)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_norms_are_those_of_the_mean_loss_over_all_targets(family):
    model = build_model(family).eval()
    sequences = random_sequences(5, 12)
    groups = parameter_groups(model)
    found = gradient_norms(model, groups, sequences, batch_size_sequences=2)
    assert all(each.grad is None for each in model.parameters())
    model.requires_grad_(True)
    input_ids = torch.from_numpy(sequences.astype(np.int64))
    logits = model(input_ids=input_ids).logits[:, :-1]
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), input_ids[:, 1:].flatten()).backward()
    for name, parameters in groups.items():
        joined = torch.cat([each.grad.flatten() for each in parameters if each.grad is not None])
        assert found[name] == pytest.approx(float(joined.double().norm()), rel=1e-4), name
