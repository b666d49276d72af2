"""The seam to transformers' ``Trainer``: what of it is overridden, and that it is still called."""

import contextlib
import inspect
import signal
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from transformers import Trainer

from ke_steps.job.errors import Stopped
from ke_steps.training.batches import TrainingSequences
from ke_steps.training.log import Watcher
from ke_steps.training.resuming import Unfinished
from ke_steps.training.train import train
from ke_steps.training.trainer import Collator, OneDeviceArguments, StudyTrainer, build_optimizer
from ke_steps.training.writing import Writer
from tests.invented.models import FAMILIES, PAD_ID, build_model, random_sequences
from tests.invented.training import CPU, TOKENIZER, optimisation

VERSION = f"transformers=={transformers.__version__}"
PARAMETERS = {
    "training_step": ["self", "model", "inputs", "num_items_in_batch"],
    "_clip_grad_norm": ["self", "model"],
    "floating_point_ops": ["self", "inputs"],
    "save_model": ["self", "output_dir", "_internal_call"],
    "_save_optimizer_and_scheduler": ["self", "output_dir"],
    "_load_from_checkpoint": ["self", "resume_from_checkpoint", "model"],
}
"""What ``StudyTrainer`` overrides, and the parameters that it was written for."""

PRIVATE = {"_clip_grad_norm", "_load_from_checkpoint", "_save_optimizer_and_scheduler"}
"""Of these what transformers does not promise to keep: no public hook stands in its place."""

NUM_STEPS, NUM_MICRO_BATCHES, STOP_AFTER = 3, 2, 2


def test_what_is_overridden_is_known():
    overridden = {name for name in vars(StudyTrainer) if hasattr(Trainer, name)}
    own = {name for name in overridden if not name.startswith("__")}
    assert own == set(PARAMETERS), f"ours hides other methods of {VERSION}'s Trainer than intended"
    assert {name for name in own if name.startswith("_")} == PRIVATE


@pytest.mark.parametrize("name", PARAMETERS)
def test_trainer_has_what_is_overridden_with_the_same_parameters(name):
    method = getattr(Trainer, name, None)
    assert method is not None, f"Trainer of {VERSION} has no {name} to override"
    found = list(inspect.signature(method).parameters)
    assert found == PARAMETERS[name], f"{name} of {VERSION}'s Trainer takes other parameters"
    assert list(inspect.signature(getattr(StudyTrainer, name)).parameters) == found


class Stopping(Watcher):
    """Gets a signal while a step's end is told, so that training ends after the next one."""

    def observe(self, model, step):
        if step == STOP_AFTER - 1:
            signal.raise_signal(signal.SIGTERM)


def count_calls(folder, watcher, patch):
    """Train or go on; return how often Trainer called each overridden method."""
    calls = Counter()

    def count(name):
        method = getattr(StudyTrainer, name)

        def counted(self, *arguments, **keywords):
            calls[name] += 1
            return method(self, *arguments, **keywords)

        patch.setattr(StudyTrainer, name, counted)

    for name in PARAMETERS:
        count(name)
    plan = optimisation(num_steps=NUM_STEPS, micro_batch_size_sequences=2)
    with contextlib.suppress(Stopped):
        train(
            lambda *_: build_model(),
            TrainingSequences(random_sequences(12, 16), plan.num_sequences),
            plan,
            tokenizer=TOKENIZER,
            device=CPU,
            watcher=watcher,
            unfinished=Unfinished(folder / "manifest.json", watcher),
        )
    return calls


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Return the calls of a run that is stopped, and of the one that goes on from there."""
    folder = tmp_path_factory.mktemp("run")
    found = []
    for watcher in (Stopping(), Watcher()):
        with pytest.MonkeyPatch.context() as patch:
            found.append(count_calls(folder, watcher, patch))
    return found


OF_A_MICRO_BATCH = [NUM_MICRO_BATCHES * num for num in (STOP_AFTER, NUM_STEPS - STOP_AFTER)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("training_step", OF_A_MICRO_BATCH),
        ("_clip_grad_norm", [STOP_AFTER, NUM_STEPS - STOP_AFTER]),
        ("floating_point_ops", OF_A_MICRO_BATCH),
        ("save_model", [1, 0]),
        ("_save_optimizer_and_scheduler", [1, 0]),
        ("_load_from_checkpoint", [0, 1]),
    ],
)
def test_trainer_calls_what_is_overridden(name, expected, calls):
    found = [each[name] for each in calls]
    assert found == expected, f"Trainer of {VERSION} calls {name} at other moments"


def test_a_sharded_model_is_not_wrapped(tmp_path, monkeypatch):
    trainer = StudyTrainer(
        build_model(),
        args=OneDeviceArguments(
            output_dir=str(tmp_path), max_steps=1, use_cpu=True, report_to="none"
        ),
        train_dataset=[torch.arange(8).numpy()] * 8,
        data_collator=Collator(TOKENIZER),
        writer=Writer(),
    )
    flag = "is_distributed_loading_by_transformers"
    assert getattr(trainer, flag, None) is False, f"Trainer of {VERSION} does not know {flag}"
    clash = {"_reductions", "_batch_loss", "_writer"} & vars(
        Trainer(build_model(), args=trainer.args)
    ).keys()
    assert not clash, f"Trainer of {VERSION} has attributes that ours overwrite"
    prepare, prepared = trainer.accelerator.prepare_model, []

    def preparing(model, **keywords):
        prepared.append(keywords)
        return prepare(model, **keywords)

    monkeypatch.setattr(trainer.accelerator, "prepare_model", preparing)
    setattr(trainer, flag, True)
    trainer.train()
    asked = [each.get("evaluation_mode") for each in prepared]
    assert asked == [True], f"Trainer of {VERSION} wraps a model although {flag} is set"


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
