"""The training loop: its schedule, its batches, and equality with a loop written out."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from ke_steps.artefacts.sequences import read_sequences
from ke_steps.formulas.divergence import diverged_at
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import Training
from ke_steps.training.batches import Optimisation, TrainingSequences, micro_batch_size, read_corpus
from ke_steps.training.log import Watcher
from ke_steps.training.train import train as train_model
from ke_steps.training.trainer import Collator, build_optimizer
from tests.invented.models import (
    FAMILIES,
    MAX_LENGTH_TOKENS,
    PAD_ID,
    VOCAB_SIZE,
    build_model,
    build_sequences,
    random_sequences,
)
from tests.invented.optimising import BATCH_SIZE, CPU, LENGTH, NUM_STEPS, TOKENIZER, optimisation


class Calling(Watcher):
    """Calls a function with the number of steps done."""

    def __init__(self, function):
        self.function = function

    def observe(self, model, step):
        self.function(step)


def train_on(model, dataset, plan, **keywords):
    """Train ``model`` itself, in place, and return the rows of the training table."""
    return train_model(
        lambda device: model, dataset, plan, tokenizer=TOKENIZER, device=CPU, **keywords
    ).rows


def train(model, sequences, plan, **keywords):
    dataset = TrainingSequences(sequences, plan.num_sequences)
    return train_on(model, dataset, plan, **keywords)


def closed_form(step, *, peak=1e-3, num_warmup=3, ratio=0.1):
    if step <= num_warmup:
        return peak * step / num_warmup
    progress = (step - num_warmup) / (NUM_STEPS - num_warmup)
    return peak * (ratio + (1 - ratio) * (1 + math.cos(math.pi * progress)) / 2)


def bare_loop(model, sequences, plan):
    """Return losses and gradient norms of the same training without Trainer."""
    matrices = [p for n, p in model.named_parameters() if n.endswith("proj.weight")]
    others = [p for n, p in model.named_parameters() if not n.endswith("proj.weight")]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": others}],
        betas=(0.9, 0.95),
        eps=1e-5,
        weight_decay=0.0,
    )
    losses, norms = [], []
    for step in range(1, plan.num_steps + 1):
        batch = torch.tensor(sequences[(step - 1) * BATCH_SIZE : step * BATCH_SIZE]).long()
        logits = model(batch).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        for group in optimizer.param_groups:
            group["lr"] = closed_form(step)
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def test_an_optimisation_is_what_the_settings_say():
    said = {
        "num_steps": 12,
        "batch_size_sequences": 8,
        "micro_batch_size_sequences": 2,
        "learning_rate": 3e-4,
        "warmup_fraction": 0.2,
        "min_learning_rate_ratio": 0.3,
        "weight_decay": 0.4,
        "max_gradient_norm": 5.0,
        "precision": "bf16",
        "num_epochs": 3,
    }
    others = {"corpus": "news", "num_injections": 2, "injection_interval_steps": 1}
    found = Optimisation.of(Training(**said, **others))
    assert dataclasses.asdict(found) == said


def test_equals_a_bare_loop():
    sequences = random_sequences(NUM_STEPS * BATCH_SIZE, LENGTH)
    model, twin = build_model(), build_model()
    rows = train(model, sequences, optimisation())
    losses, norms = bare_loop(twin.train(), sequences, optimisation())
    assert [row["train_step"] for row in rows] == list(range(1, NUM_STEPS + 1))
    np.testing.assert_allclose([row["loss_nats"] for row in rows], losses, atol=1e-6)
    np.testing.assert_allclose([row["gradient_norm"] for row in rows], norms, rtol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, twin.get_parameter(name), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("warmup_fraction", [0.0, 0.25])
def test_schedule_equals_closed_form(warmup_fraction):
    plan = optimisation(warmup_fraction=warmup_fraction)
    rows = train(build_model(), random_sequences(NUM_STEPS * BATCH_SIZE, LENGTH), plan)
    expected = [
        closed_form(step, num_warmup=round(NUM_STEPS * warmup_fraction))
        for step in range(1, NUM_STEPS + 1)
    ]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], expected, rtol=1e-12)
    assert rows[-1]["learning_rate"] == pytest.approx(1e-4)


@pytest.mark.parametrize("family", ["olmo", "gpt2", "mixtral"])
def test_accumulated_gradient_is_the_batch_gradient_even_with_pads(family):
    # Pads make the micro-batches unequal in targets: a mean of means would differ.
    sequences = random_sequences(2 * BATCH_SIZE, LENGTH)
    sequences[0, 3:] = PAD_ID
    whole, split = build_model(family), build_model(family)
    plan = {"num_steps": 2, "max_gradient_norm": 1e9}
    rows = train(whole, sequences, optimisation(**plan))
    rows_split = train(split, sequences, optimisation(**plan, micro_batch_size_sequences=1))
    for row, row_split in zip(rows, rows_split, strict=True):
        assert row["loss_nats"] == pytest.approx(row_split["loss_nats"], rel=1e-6)
        assert row["gradient_norm"] == pytest.approx(row_split["gradient_norm"], rel=1e-5)
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(parameter, split.get_parameter(name), atol=2e-6, rtol=1e-4)


def test_pads_are_no_targets_unless_they_end_texts():
    rows = [np.array([5, PAD_ID, 7], dtype=np.int32)]
    assert Collator(TOKENIZER)(rows)["labels"].tolist() == [[5, -100, 7]]
    alike = SimpleNamespace(pad_token_id=PAD_ID, eos_token_id=PAD_ID)
    assert Collator(alike)(rows)["labels"].tolist() == [[5, PAD_ID, 7]]


@pytest.mark.parametrize("family", FAMILIES)
def test_weight_decay_acts_on_linear_matrices_alone(family):
    model = build_model(family)
    decayed, kept = build_optimizer(model, learning_rate=1e-3, weight_decay=0.1).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0.0
    kept_names = {names[id(parameter)] for parameter in kept["params"]}
    endings = ("embed_tokens.weight", "embed_in.weight", "wte.weight", "wpe.weight", "bias")
    assert all(n.endswith(endings) or "norm" in n or "ln_" in n for n in kept_names)
    assert not any("norm" in names[id(p)] or "embed" in names[id(p)] for p in decayed["params"])
    assert len(decayed["params"]) + len(kept["params"]) == len(names)


def test_items_are_prefixed_cut_back_and_wrap_round():
    sequences = random_sequences(5, 6)
    data = TrainingSequences(sequences, 4, first=3, prefixes={1: [9, 8], 3: range(2, 12)})
    assert len(data) == 4
    assert data[0].tolist() == sequences[3].tolist()
    assert data[1].tolist() == [9, 8, *sequences[4][:4]]
    assert data[2].tolist() == sequences[0].tolist()
    assert data[3].tolist() == [2, 3, 4, 5, 6, 7]


def test_epochs_repeat_the_sequences_in_their_order():
    sequences = random_sequences(7, 6)
    data = TrainingSequences(sequences, 5, first=4, num_epochs=3, prefixes={6: [9, 8]})
    assert len(data) == 15
    for item in range(15):
        expected = sequences[(4 + item % 5) % 7].tolist()
        assert data[item].tolist() == ([9, 8, *expected][:6] if item == 6 else expected)


def test_several_epochs_train_as_their_sequences_written_out():
    sequences = random_sequences(2 * BATCH_SIZE, LENGTH)
    plan = optimisation(num_steps=6, num_epochs=3)
    assert plan.num_sequences == len(sequences)
    model, twin = build_model(), build_model()
    data = TrainingSequences(sequences, plan.num_sequences, num_epochs=3)
    rows = train_on(model, data, plan)
    assert rows == train(twin, np.tile(sequences, (3, 1)), optimisation(num_steps=6))


def test_bf16_trains_fp32_weights():
    model = build_model()
    rows = train(model, random_sequences(8, LENGTH), optimisation(num_steps=2, precision="bf16"))
    assert len(rows) == 2
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_training_leaves_the_config_as_it_was():
    model = build_model()
    before = model.config.to_dict()
    train(model, random_sequences(4, LENGTH), optimisation(num_steps=1))
    assert model.config.to_dict() == before


def poison(model, what):
    if what == "loss":
        finite = model.loss_function
        model.loss_function = lambda **keywords: finite(**keywords) * math.inf
    else:
        # numbers each, whose squares are too large for one
        factor = {"gradient": math.nan, "norm": 1e30}[what]
        model.lm_head.weight.register_hook(lambda gradient: gradient * factor)


@pytest.mark.parametrize("what", ["loss", "gradient", "norm"])
def test_what_is_not_finite_ends_the_run_before_the_optimiser_steps(what, capsys):
    watched = []

    class Poisoning(Watcher):
        def observe(self, model, step):
            watched.append(("observed", step))
            if step == 2:
                self.weights = {k: v.clone() for k, v in model.state_dict().items()}
                poison(model, what)

        def diverged(self, model, step):
            watched.append(("diverged", step))

    watcher = Poisoning()
    model = build_model()
    data = TrainingSequences(random_sequences(16, LENGTH), 16)
    trained = train_model(
        lambda device: model,
        data,
        optimisation(num_steps=4, warmup_fraction=0.0),
        tokenizer=TOKENIZER,
        device=CPU,
        watcher=watcher,
    )
    assert watched == [("observed", 0), ("observed", 1), ("observed", 2), ("diverged", 2)]
    assert trained.diverged_at_step == 3
    assert [row["train_step"] for row in trained.rows] == [1, 2, 3]
    last = trained.rows[-1]
    assert math.isfinite(last["loss_nats"]) == (what != "loss")
    assert not math.isfinite(last["gradient_norm"])
    assert math.isinf(last["gradient_norm"]) == (what == "norm")
    assert 0 < last["learning_rate"] < trained.rows[1]["learning_rate"]
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, watcher.weights[name], rtol=0, atol=0)
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "diverged" in x]
    assert line.startswith("training diverged at step 3: loss")
    assert line.endswith("the run is kept and marked as diverged")


@pytest.mark.parametrize(("rise", "step"), [(0.9, None), (1.1, 20)])
def test_a_loss_that_rose_has_diverged_at_the_last_step(rise, step):
    losses = [2.0, 2.2, *[9.0] * 16, 2.1 + rise - 0.3, 2.1 + rise + 0.3]
    training = pd.DataFrame(
        {"train_step": range(1, 21), "loss_nats": losses, "gradient_norm": [1.0] * 20}
    )
    assert diverged_at(training) == step
    one_step = training.head(1)
    assert diverged_at(one_step) is None
    training.loc[4, "gradient_norm"] = math.inf
    training.loc[7, "loss_nats"] = math.nan
    assert diverged_at(training) == 5


@pytest.mark.parametrize(("largest", "expected"), [(4, 4), (3, 2), (1, 1)])
def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch(largest, expected, capsys):
    sequences = random_sequences(NUM_STEPS * BATCH_SIZE, LENGTH)
    twin = build_model()
    expected_rows = train(twin, sequences, optimisation(micro_batch_size_sequences=expected))
    models, steps = [], []

    def build(device):
        model = build_model()
        forward = model.forward

        def limited(input_ids, **keywords):
            # the third step alone is too large at first: half of the run is done again
            if len(steps) > 2 and len(input_ids) > largest:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return forward(input_ids=input_ids, **keywords)

        model.forward = limited
        models.append(model)
        return model

    with provenance.recording("inject_knowledge", {}, {}):
        trained = train_model(
            build,
            TrainingSequences(sequences, len(sequences)),
            optimisation(),
            tokenizer=TOKENIZER,
            device=CPU,
            watcher=Calling(steps.append),
        )
        noted = provenance.current().get("micro_batch_size_sequences")
    assert trained.rows == expected_rows
    assert noted == (None if expected == BATCH_SIZE else str(expected))
    assert len(models) == {4: 1, 2: 2, 1: 3}[expected]
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(parameter, models[-1].get_parameter(name), atol=0, rtol=0)
    told = [x for x in capsys.readouterr().err.splitlines() if x.startswith("out of memory")]
    assert len(told) == len(models) - 1


def test_out_of_memory_with_one_sequence_is_told_in_one_line():
    def build(device):
        model = build_model()

        def too_large(**keywords):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        model.forward = too_large
        return model

    data = TrainingSequences(random_sequences(8, LENGTH), 8)
    with pytest.raises(UserError, match=r"^out of memory .*\(CUDA out of memory\).*micro_batch"):
        train_model(build, data, optimisation(num_steps=2), tokenizer=TOKENIZER, device=CPU)


def test_ranks_share_the_batch_in_micro_batches_that_divide_their_part(monkeypatch):
    def micro_batch(num_ranks, limit, batch=12):
        monkeypatch.setenv("WORLD_SIZE", str(num_ranks))
        return micro_batch_size(optimisation(batch_size_sequences=batch), limit)

    assert [micro_batch(1, limit) for limit in (1, 2, 4, 5, 12, 100)] == [1, 2, 4, 4, 12, 12]
    assert [micro_batch(2, limit) for limit in (1, 4, 6, 12)] == [1, 3, 6, 6]
    assert micro_batch(12, 4) == 1
    with pytest.raises(UserError, match=r"batch_size_sequences: 12 .* by 5 GPUs.*cluster"):
        micro_batch(5, 4)


def test_sequences_are_refused_when_too_few_or_foreign(tmp_path):
    path = build_sequences(tmp_path / "s.parquet", 8, MAX_LENGTH_TOKENS)
    tokens = read_corpus(path, optimisation(num_steps=2), vocab_size=VOCAB_SIZE, corpus="c")
    assert tokens.dtype == np.int32
    assert tokens.tolist() == random_sequences(8, MAX_LENGTH_TOKENS).tolist()
    with pytest.raises(UserError, match=r"corpora\.news\.num_sequences.*needs 12"):
        read_corpus(path, optimisation(num_steps=3), vocab_size=320, corpus="news")
    three_epochs = optimisation(num_steps=6, num_epochs=3)
    assert len(read_corpus(path, three_epochs, vocab_size=320, corpus="news")) == 8
    with pytest.raises(UserError, match="outside the model's vocabulary of 100"):
        read_sequences(path, vocab_size=100)
