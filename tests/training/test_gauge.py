"""Learning from a gauge-transformed model as from the original, by the product's own training."""

import contextlib
import signal

import numpy as np
import pytest
import torch

from ke_steps import inject_knowledge
from ke_steps.artefacts.interventions import write_intervention
from ke_steps.artefacts.parquet import read_frame
from ke_steps.job.errors import Stopped, UserError
from ke_steps.models.feed_forward import feed_forward
from ke_steps.models.intervening import intervene
from ke_steps.training.batches import TrainingSequences
from ke_steps.training.gauge import gauge_of, parameter_factors
from ke_steps.training.train import train
from tests.invented.double import in_double  # noqa: F401 # a fixture
from tests.invented.injections import build_inputs, inject, outputs
from tests.invented.models import FAMILIES, NUM_LAYERS, NUM_MEMORIES, build_model, random_sequences
from tests.invented.training import BATCH_SIZE, CPU, LENGTH, TOKENIZER, optimisation

GATED = [family for family in FAMILIES if family not in {"gpt_neox", "gpt2"}]


def multipliers(largest=1668.0):
    """Return s (L, m): from 1/8 to the largest of a pilot, half of them 1."""
    generator = np.random.default_rng(5)
    shape = (NUM_LAYERS, NUM_MEMORIES)
    drawn = np.exp(generator.uniform(np.log(0.125), np.log(largest), shape))
    return np.where(generator.random(shape) < 0.5, 1.0, drawn)


def gauge(s):
    return {"up_rows": s, "memory_vectors": 1 / s}


def learn(family, factors=None, *, compensate=False, num_steps=8):
    """Train a model, transformed by a gauge or not; return it and the rows of its training."""
    model = build_model(family)
    model.config._experts_implementation = "eager"  # the usual one has no fp64
    if factors:
        intervene(model, factors, where="test")
    plan = optimisation(
        num_steps=num_steps, micro_batch_size_sequences=2, max_gradient_norm=0.05, weight_decay=1.0,
        learning_rate=1e-2,
    )  # fmt: skip
    sequences = random_sequences(num_steps * BATCH_SIZE, LENGTH)
    return train(
        lambda *_: model, TrainingSequences(sequences, plan.num_sequences), plan,
        tokenizer=TOKENIZER, device=CPU, gauge=factors if compensate else None,
    )  # fmt: skip


def distance(model, factors, original):
    """Return the largest difference of parameters, taken back, in units of the largest one."""
    intervene(model, {name: 1 / each for name, each in factors.items()}, where="test")
    pairs = list(zip(model.parameters(), original.parameters(), strict=True))
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


@pytest.mark.parametrize("family", GATED)
@pytest.mark.usefixtures("in_double")
def test_compensated_it_learns_as_the_original_and_otherwise_does_not(family):
    """Clipped at every step, with weight decay, in fp64, multipliers up to 1,668."""
    factors = gauge(multipliers())
    original = learn(family)
    assert min(row["gradient_norm"] for row in original.rows) > 0.05
    same = learn(family, factors, compensate=True)
    for ours, theirs in zip(same.rows, original.rows, strict=True):
        assert ours["loss_nats"] == pytest.approx(theirs["loss_nats"], rel=1e-10)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-9)
    assert distance(same.model, factors, original.model) < 1e-9
    if family == "olmo":
        other = learn(family, factors)
        assert distance(other.model, factors, original.model) > 0.01


@pytest.mark.usefixtures("in_double")
def test_a_step_is_adamw_with_factors_on_rates_and_epsilon():
    """By the formula that says what compensation is, in the transformed coordinates."""
    factors = gauge(multipliers(8.0))
    rate, decay, epsilon, most = 1e-2, 0.5, 1e-5, 0.05
    model = build_model()
    intervene(model, factors, where="test")
    of = {id(parameter): factor for parameter, factor in parameter_factors(model, factors)}
    assert len(of) == 2 * NUM_LAYERS
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    scale = {name: of.get(id(p), torch.ones_like(p)) for name, p in model.named_parameters()}
    ids = torch.from_numpy(random_sequences(BATCH_SIZE, LENGTH)).long()
    model(input_ids=ids, labels=ids).loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    norm = sum((scale[name] * each).square().sum() for name, each in gradients.items()).sqrt()
    model.zero_grad()
    plan = optimisation(
        num_steps=1, warmup_fraction=0.0, min_learning_rate_ratio=1.0, learning_rate=rate,
        weight_decay=decay, max_gradient_norm=most,
    )  # fmt: skip
    (row,) = train(
        lambda *_: model, TrainingSequences(ids.numpy().astype(np.int32), BATCH_SIZE), plan,
        tokenizer=TOKENIZER, device=CPU, gauge=factors,
    ).rows  # fmt: skip
    assert row["gradient_norm"] == pytest.approx(norm.item(), rel=1e-9)
    for name, parameter in model.named_parameters():
        g, f = gradients[name] * most / (norm + 1e-6), scale[name]
        own_decay = decay if "proj" in name else 0.0
        expected = start[name] * (1 - rate * own_decay) - rate * f * g / (g.abs() + epsilon / f)
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-10, msg=name)


def test_a_job_learns_as_the_original_does_and_goes_on_the_same(tmp_path, monkeypatch):
    files = build_inputs(tmp_path)
    runs = {"original": (False, False), "beside": (False, True)}  # gauge or not, compensated or not
    runs |= {"compensated": (True, True), "stopped": (True, True)}
    for name, (is_gauge, compensate) in runs.items():
        path = tmp_path / f"{name}.safetensors"
        (tmp_path / name).mkdir()
        write_intervention(path, gauge(multipliers(32.0).astype(np.float32)))
        these = files | {"intervention": path if is_gauge else None}
        changes = {"compensate_gauge": compensate}
        if name == "stopped":
            with monkeypatch.context() as patch:
                stop_after(patch, 2)
                with contextlib.suppress(Stopped):
                    inject(tmp_path / name, these, **changes)
            assert not outputs(tmp_path / name)["output_training"].exists()
        inject(tmp_path / name, these, **changes)
    scores = {
        name: read_frame(tmp_path / name / "probe_scores.parquet")["log_probability_sum"]
        for name in runs
    }
    assert scores["beside"].tolist() == scores["original"].tolist()
    np.testing.assert_allclose(scores["compensated"], scores["original"], rtol=1e-3)
    assert scores["stopped"].tolist() == scores["compensated"].tolist()


def stop_after(patch, step):
    observe = inject_knowledge._Probing.observe

    def stopping(self, model, done):
        observe(self, model, done)
        if done == step:
            signal.raise_signal(signal.SIGTERM)

    patch.setattr(inject_knowledge._Probing, "observe", stopping)


@pytest.mark.parametrize(
    "values",
    [
        {"up_rows": np.full((2, 4), 2.0)},
        {"up_rows": np.full((2, 4), 2.0), "memory_vectors": np.full((2, 4), 0.51)},
        {"memory_vectors": np.full((2, 4), 2.0)},
        {"attention_temperature": [2.0, 1.0]},
    ],
)
def test_what_is_no_gauge_is_refused(tmp_path, values):
    path = tmp_path / "intervention.safetensors"
    write_intervention(path, values)
    with pytest.raises(UserError, match=r"^compensate_gauge: .* is no gauge"):
        gauge_of(path)


def test_a_model_in_parts_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("KE_STEPS_SHARDING", "fsdp")
    data = TrainingSequences(random_sequences(4, LENGTH), 4)
    with pytest.raises(UserError, match=r"^compensate_gauge: not with cluster\.sharding: fsdp"):
        train(
            lambda *_: build_model(), data, optimisation(num_steps=1), tokenizer=TOKENIZER,
            device=CPU, gauge=gauge(multipliers()),
        )  # fmt: skip


def test_factors_are_those_of_up_rows_and_vectors_alone():
    model, s = build_model(), multipliers()
    factors = {id(p): f for p, f in parameter_factors(model, gauge(s))}
    layers = feed_forward(model)
    layer = model.model.layers[1].mlp
    found = factors[id(layer.up_proj.weight)], factors[id(layer.down_proj.weight)]
    assert found[0][:, 0].tolist() == pytest.approx(s[1].tolist())
    assert found[1][0].tolist() == pytest.approx((1 / s[1]).tolist())
    assert layers.num_layers * 2 == len(factors)
