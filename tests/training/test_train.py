"""The training loop: its schedule, its batches, and equality with a loop written out."""

import math

import numpy as np
import pytest
import torch

from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.models.loading import compute_deterministically
from ke_steps.training.batches import TrainingSequences
from ke_steps.training.log import Watcher
from ke_steps.training.train import train
from tests.invented.models import PAD_ID, build_model, random_sequences
from tests.invented.training import BATCH_SIZE, CPU, LENGTH, NUM_STEPS, TOKENIZER, optimisation


class Calling(Watcher):
    """Calls a function with the number of steps done."""

    def __init__(self, function):
        self.function = function

    def observe(self, model, step):
        self.function(step)


def train_on(model, dataset, plan, **keywords):
    """Train ``model`` itself, in place, and return the rows of the training table."""
    return train(lambda *_: model, dataset, plan, tokenizer=TOKENIZER, device=CPU, **keywords).rows


def train_on_all(model, sequences, plan, **keywords):
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


def test_equals_a_bare_loop():
    sequences = random_sequences(NUM_STEPS * BATCH_SIZE, LENGTH)
    model, twin = build_model(), build_model()
    rows = train_on_all(model, sequences, optimisation())
    losses, norms = bare_loop(twin.train(), sequences, optimisation())
    assert [row["train_step"] for row in rows] == list(range(1, NUM_STEPS + 1))
    np.testing.assert_allclose([row["loss_nats"] for row in rows], losses, atol=1e-6)
    np.testing.assert_allclose([row["gradient_norm"] for row in rows], norms, rtol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, twin.get_parameter(name), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("warmup_fraction", [0.0, 0.25])
def test_schedule_equals_closed_form(warmup_fraction):
    plan = optimisation(warmup_fraction=warmup_fraction)
    rows = train_on_all(build_model(), random_sequences(NUM_STEPS * BATCH_SIZE, LENGTH), plan)
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
    rows = train_on_all(whole, sequences, optimisation(**plan))
    rows_split = train_on_all(split, sequences, optimisation(**plan, micro_batch_size_sequences=1))
    for row, row_split in zip(rows, rows_split, strict=True):
        assert row["loss_nats"] == pytest.approx(row_split["loss_nats"], rel=1e-6)
        assert row["gradient_norm"] == pytest.approx(row_split["gradient_norm"], rel=1e-5)
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(parameter, split.get_parameter(name), atol=2e-6, rtol=1e-4)


def test_several_epochs_train_as_their_sequences_written_out():
    sequences = random_sequences(2 * BATCH_SIZE, LENGTH)
    plan = optimisation(num_steps=6, num_epochs=3)
    assert plan.num_sequences == len(sequences)
    model, twin = build_model(), build_model()
    data = TrainingSequences(sequences, plan.num_sequences, num_epochs=3)
    rows = train_on(model, data, plan)
    assert rows == train_on_all(twin, np.tile(sequences, (3, 1)), optimisation(num_steps=6))


def test_bf16_trains_fp32_weights():
    model = build_model()
    rows = train_on_all(
        model, random_sequences(8, LENGTH), optimisation(num_steps=2, precision="bf16")
    )
    assert len(rows) == 2
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_new_tensors_hold_before_they_are_written_is_never_read(precision, monkeypatch):
    """Filled with NaN, as torch does it unless told not to, they give the same bytes."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    trained = []
    torch.use_deterministic_algorithms(True)
    for prepare in (lambda: None, compute_deterministically):
        prepare()
        model = build_model()
        plan = optimisation(num_steps=3, micro_batch_size_sequences=2, precision=precision)
        rows = train_on_all(model, random_sequences(12, LENGTH), plan)
        trained.append((rows, [each.detach().numpy().tobytes() for each in model.parameters()]))
        is_filled = torch.empty(3).isnan().all()
        assert is_filled == (prepare is not compute_deterministically)
    torch.use_deterministic_algorithms(False)
    assert trained[0] == trained[1]


def test_training_leaves_the_config_as_it_was():
    model = build_model()
    before = model.config.to_dict()
    train_on_all(model, random_sequences(4, LENGTH), optimisation(num_steps=1))
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
    trained = train(
        lambda *_: model,
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


@pytest.mark.parametrize(("largest", "expected"), [(4, 4), (3, 2), (1, 1)])
def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch(
    largest, expected, capsys, monkeypatch
):
    sequences = random_sequences(NUM_STEPS * BATCH_SIZE, LENGTH)
    twin = build_model()
    expected_rows = train_on_all(twin, sequences, optimisation(micro_batch_size_sequences=expected))
    models, steps = [], []

    def build(device, shard):
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

    shared = "other processes hold 40.0 of the GPU's 80.0 GB"
    monkeypatch.setattr("ke_steps.training.train.others_on_gpu", lambda: shared)
    with provenance.recording("inject_knowledge", {}, {}):
        trained = train(
            build,
            TrainingSequences(sequences, len(sequences)),
            optimisation(),
            tokenizer=TOKENIZER,
            device=CPU,
            watcher=Calling(steps.append),
        )
        noted = provenance.current()
    assert trained.rows == expected_rows
    if expected == BATCH_SIZE:
        assert not {"micro_batch_size_sequences", "gpu_when_out_of_memory"} & noted.keys()
    else:
        assert noted["micro_batch_size_sequences"] == str(expected)
        assert noted["gpu_when_out_of_memory"] == shared
    assert len(models) == {4: 1, 2: 2, 1: 3}[expected]
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(parameter, models[-1].get_parameter(name), atol=0, rtol=0)
    told = [x for x in capsys.readouterr().err.splitlines() if x.startswith("out of memory")]
    assert len(told) == len(models) - 1
    assert all(f"(CUDA out of memory; {shared}): going on with" in line for line in told)


def test_out_of_memory_with_one_sequence_is_told_in_one_line():
    def build(device, shard):
        model = build_model()

        def too_large(**keywords):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        model.forward = too_large
        return model

    data = TrainingSequences(random_sequences(8, LENGTH), 8)
    with pytest.raises(UserError, match=r"^out of memory .*\(CUDA out of memory\).*micro_batch"):
        train(build, data, optimisation(num_steps=2), tokenizer=TOKENIZER, device=CPU)
