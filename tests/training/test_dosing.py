"""A dose of entropy: its gradient, the batch it is of, and that no dose leaves training alone."""

import inspect
import math

import numpy as np
import pytest
import torch
from transformers import Trainer

from ke_steps.models.feed_forward import feed_forward
from ke_steps.training import train as training
from ke_steps.training.batches import TrainingSequences
from ke_steps.training.dosing import DosedTrainer, contributions, normalized_entropy
from ke_steps.training.log import ENTROPY
from ke_steps.training.tempering import Course
from ke_steps.training.train import train
from ke_steps.training.trainer import build_optimizer
from tests.invented.double import in_double  # noqa: F401 # a fixture
from tests.invented.extraction import extract
from tests.invented.models import (
    FAMILIES,
    NUM_LAYERS,
    PAD_ID,
    build_checkpoint,
    build_model,
    build_sequences,
    random_sequences,
)
from tests.invented.training import BATCH_SIZE, CPU, LENGTH, TOKENIZER, optimisation

FORMS = ["olmo", "phi3", "gpt2", "mixtral"]
"""One family of each form of feed-forward layers."""


def train_on(model, sequences, **changes):
    plan = optimisation(**({"num_steps": 2, "max_gradient_norm": 1e9} | changes))
    dataset = TrainingSequences(sequences, plan.num_sequences)
    return train(lambda *_: model, dataset, plan, tokenizer=TOKENIZER, device=CPU).rows


def padded(num, seed=0):
    """Return sequences one of which is mostly padding."""
    sequences = random_sequences(num, LENGTH, seed=seed)
    sequences[0, 3:] = PAD_ID
    return sequences


def entropy_of(model, sequences):
    ids = torch.from_numpy(sequences).long()
    with contributions(feed_forward(model), ids != PAD_ID) as found:
        model(input_ids=ids)
    return normalized_entropy(found.stacked())


def by_hand(activity):
    """Return H / ln m, mean over layers, of activities (L, m)."""
    found = []
    for layer in activity:
        shares = layer[layer > 0] / layer.sum()
        found.append(-(shares * np.log(shares)).sum() / math.log(len(layer)))
    return np.mean(found)


def test_entropy_by_hand_and_finite_gradients_where_memories_are_silent():
    activity = torch.tensor([[1.0, 1, 2, 0], [0, 0, 0, 0]], requires_grad=True)
    entropy = normalized_entropy(activity)
    assert entropy.item() == pytest.approx(by_hand(activity.detach().numpy()[:1]) / 2)
    entropy.backward()
    assert activity.grad[1].tolist() == [0] * 4
    assert activity.grad.isfinite().all()
    # dH/da = -(ln p + H) / sum
    h = 1.5 * math.log(2)
    expected = -(math.log(0.25) + h) / 4 / 2 / math.log(4)
    assert activity.grad[0, 0].item() == pytest.approx(expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("in_double")
def test_gradient_equals_finite_differences(family):
    """Of every parameter along a direction of its own, padding included."""
    model = build_model(family)
    sequences = padded(3)
    entropy_of(model, sequences).backward()
    generator = torch.Generator().manual_seed(1)
    step, largest = 1e-6, 0.0
    for name, parameter in model.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator)
        ends = []
        with torch.no_grad():
            for sign in (1, -1):
                parameter.add_(direction, alpha=sign * step)
                ends.append(entropy_of(model, sequences).item())
                parameter.add_(direction, alpha=-sign * step)
        slope = (ends[0] - ends[1]) / (2 * step)
        found = 0.0 if parameter.grad is None else (parameter.grad * direction).sum().item()
        assert found == pytest.approx(slope, rel=1e-5, abs=1e-8), name
        largest = max(largest, abs(slope))
    assert largest > 1e-4


def test_a_batch_has_the_entropy_that_measuring_gives(tmp_path):
    checkpoint = build_checkpoint(tmp_path / "model")
    corpus = build_sequences(tmp_path / "sequences", input_ids=random_sequences(8, LENGTH))
    table = extract(tmp_path, checkpoint, corpus)
    activity = (table["mean_absolute"] * table["memory_norm"]).to_numpy().reshape(NUM_LAYERS, -1)
    with torch.no_grad():
        found = entropy_of(build_model(), random_sequences(8, LENGTH)).item()
    assert found == pytest.approx(by_hand(activity), rel=1e-6)


@pytest.mark.parametrize("family", FORMS)
@pytest.mark.parametrize("weight", [2.0, -2.0])
@pytest.mark.usefixtures("in_double")
def test_one_step_is_adamw_on_the_loss_with_the_dose(family, weight):
    """Whatever the micro-batches: H is of the whole batch, and no mean of theirs."""
    sequences = padded(BATCH_SIZE)
    plan = {"num_steps": 1, "warmup_fraction": 0.0, "min_learning_rate_ratio": 1.0}
    twin = build_model(family)
    ids = torch.from_numpy(sequences).long()
    labels = ids.masked_fill(ids == PAD_ID, -100)
    with contributions(feed_forward(twin), labels != -100) as found:
        loss = twin(input_ids=ids, labels=labels).loss
    entropy = normalized_entropy(found.stacked())
    (loss - weight * entropy).backward()
    build_optimizer(twin, learning_rate=1e-3, weight_decay=0.1).step()
    for size in (BATCH_SIZE, 2, 1):
        model = build_model(family)
        (row,) = train_on(
            model, sequences, **plan, contribution_entropy_weight=weight,
            micro_batch_size_sequences=size,
        )  # fmt: skip
        assert row["loss_nats"] == pytest.approx(loss.item(), rel=1e-12)
        assert row[ENTROPY] == pytest.approx(entropy.item(), rel=1e-12)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(
                parameter, twin.get_parameter(name), rtol=0, atol=1e-12, msg=name
            )


def test_a_dose_moves_the_entropy_of_the_model_its_way():
    sequences = np.tile(random_sequences(BATCH_SIZE, LENGTH), (40, 1))
    ends = {}
    for weight in (-30.0, 1e-9, 30.0):
        rows = train_on(
            build_model(), sequences, num_steps=40, contribution_entropy_weight=weight,
            max_gradient_norm=1.0,
        )  # fmt: skip
        ends[weight] = rows[-1][ENTROPY]
    assert ends[-30.0] + 0.01 < ends[1e-9] < ends[30.0] - 0.003


def test_no_dose_is_no_hook_and_another_trainer_at_all(monkeypatch):
    """With a weight of 0 nothing of a dose is called, and rows tell no entropy."""
    sequences = random_sequences(2 * BATCH_SIZE, LENGTH)
    monkeypatch.delattr(training, "DosedTrainer")
    model = build_model()
    rows = train_on(model, sequences, contribution_entropy_weight=0.0)
    assert [row[ENTROPY] for row in rows] == [None, None]


def test_a_dose_begins_with_the_temperature_of_its_step():
    """The pass over the whole batch, which comes first, has the temperature of the step."""
    sequences = random_sequences(2 * BATCH_SIZE, LENGTH)
    rows = []
    for size in (BATCH_SIZE, 1):
        model = build_model()
        plan = optimisation(
            num_steps=2, contribution_entropy_weight=1.0, micro_batch_size_sequences=size
        )
        dataset = TrainingSequences(sequences, plan.num_sequences)
        trained = train(
            lambda *_, model=model: model, dataset, plan, tokenizer=TOKENIZER, device=CPU,
            course=Course(8.0, 1.0),
        )  # fmt: skip
        rows.append([row[ENTROPY] for row in trained.rows])
    assert rows[0] == pytest.approx(rows[1], rel=1e-6)


def test_bf16_sums_in_fp32():
    rows = train_on(
        build_model(), random_sequences(2 * BATCH_SIZE, LENGTH), contribution_entropy_weight=1.0,
        precision="bf16", micro_batch_size_sequences=2,
    )  # fmt: skip
    exact = train_on(
        build_model(), random_sequences(2 * BATCH_SIZE, LENGTH), contribution_entropy_weight=1.0
    )
    assert [r[ENTROPY] for r in rows] == pytest.approx([r[ENTROPY] for r in exact], rel=2e-3)


@pytest.mark.parametrize("name", ["get_batch_samples", "compute_loss", "log"])
def test_trainer_has_what_is_overridden_with_the_same_parameters(name):
    found = list(inspect.signature(getattr(Trainer, name)).parameters)
    assert list(inspect.signature(getattr(DosedTrainer, name)).parameters) == found


def test_nothing_else_is_overridden():
    overridden = {name for name in vars(DosedTrainer) if hasattr(Trainer, name)}
    assert {name for name in overridden if not name.startswith("__")} == {
        "get_batch_samples",
        "compute_loss",
        "log",
    }
