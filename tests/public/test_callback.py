"""Knowledge entropy in a real run of transformers' Trainer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from ke_steps import KnowledgeEntropyCallback, measure
from ke_steps.job.errors import UserError
from tests.invented.measured import TEXTS, fast_tokenizer
from tests.invented.models import build_model, build_tokenizer, random_sequences
from tests.invented.project import ROOT

pytestmark = pytest.mark.slow

STEPS = 4


class Heard(TrainerCallback):
    """Notes what the integrations of the Trainer are told."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append((state.global_step, dict(logs)))


def build_trainer(folder, **changes):
    """Return a Trainer of a tiny model with dropout; it learns random sequences."""
    rows = [{"input_ids": row, "labels": row} for row in random_sequences(16, 16).tolist()]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=2,
        learning_rate=0.05,
        logging_steps=1,
        save_steps=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **changes,
    )
    model = build_model("gpt2", resid_pdrop=0.5)
    rank = os.environ.get("RANK", "")  # each its own, as they may run side by side
    tokenizer = fast_tokenizer(build_tokenizer(folder.with_name(f"tokenizer{rank}")))
    return Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer)


def train(folder, every_steps=2, **changes):
    """Train with the callback; return the Trainer and what it logged, by step."""
    trainer = build_trainer(folder, **changes)
    heard = Heard()
    trainer.add_callback(heard)
    callback = KnowledgeEntropyCallback(trainer, TEXTS, every_steps=every_steps, num_sequences=16)
    trainer.add_callback(callback)
    trainer.train()
    return trainer, heard.logs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run") / "run")


def entropies(logs):
    return {step: each for step, each in logs if "knowledge_entropy_nats" in each}


@pytest.mark.parametrize("step", [2, 4])
def test_it_logs_what_the_saved_checkpoint_measures(run, step):
    trainer, logs = run
    logged = entropies(logs)[step]
    saved = Path(trainer.args.output_dir) / f"checkpoint-{step}"
    measured = measure(saved, TEXTS, num_sequences=16)
    assert logged["knowledge_entropy_nats"] == measured.total["entropy_nats"]
    assert logged["knowledge_entropy_low"] == measured.total["low"]
    assert logged["knowledge_entropy_high"] == measured.total["high"]
    assert logged["contribution_entropy_nats"] == measured.total["contribution_entropy_nats"]
    for row in measured.by_layer.itertuples():
        assert logged[f"knowledge_entropy_nats/layer_{row.layer}"] == row.entropy_nats
    assert logged["knowledge_entropy_seconds"] > 0


def test_it_measures_every_so_many_steps_and_changes_with_training(run):
    _, logs = run
    found = entropies(logs)
    assert list(found) == [2, 4]
    assert found[2]["knowledge_entropy_nats"] != found[4]["knowledge_entropy_nats"]


def test_the_history_of_the_trainer_has_it_and_every_loss(run):
    trainer, _ = run
    history = trainer.state.log_history
    assert [each["step"] for each in history if "knowledge_entropy_nats" in each] == [2, 4]
    assert [each["step"] for each in history if "loss" in each] == [1, 2, 3, 4]


def test_training_goes_as_without_it(run, tmp_path):
    """Random numbers too: the model drops out half of what it computes."""
    alone = build_trainer(tmp_path / "alone")
    alone.train()
    trainer, _ = run
    for name, value in alone.model.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], value), name
    losses = [[e["loss"] for e in t.state.log_history if "loss" in e] for t in (alone, trainer)]
    assert losses[0] == losses[1]


def test_a_number_of_steps_below_one_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"^every_steps: "):
        KnowledgeEntropyCallback(build_trainer(tmp_path / "run"), TEXTS, every_steps=0)


def test_a_model_in_parts_is_refused(tmp_path):
    trainer = build_trainer(tmp_path / "run")
    trainer.is_fsdp_enabled = True
    with pytest.raises(UserError, match=r"^trainer: its model is in parts"):
        KnowledgeEntropyCallback(trainer, TEXTS, every_steps=1)


@pytest.mark.slow
def test_two_processes_measure_once(tmp_path):
    """They share the sequences, and the first one logs what one process would."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    job = ["--nproc-per-node=2", "-m", "tests.public.on_two_ranks", str(tmp_path)]
    done = subprocess.run(
        [*torchrun, *job],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert second == []
    assert [step for step, _ in first] == [2, 4]
    for step, logged in first:
        saved = tmp_path / f"run/checkpoint-{step}"
        measured = measure(saved, TEXTS, num_sequences=16)
        expected = pytest.approx(measured.total["entropy_nats"], rel=1e-9)
        assert logged["knowledge_entropy_nats"] == expected
