"""Retention: bits per token against the model's own loss, accuracies with their intervals."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ke_steps import evaluate_retention
from ke_steps.artefacts.learning_schemas import RETENTION, RETENTION_ITEMS
from ke_steps.artefacts.parquet import read_frame, read_provenance
from ke_steps.artefacts.replicates import REPLICATES
from ke_steps.checkpoints.checkpoint_files import save_checkpoint
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.models.feed_forward import describe_model
from ke_steps.models.loading import load_model
from ke_steps.scoring import evaluation
from ke_steps.scoring.evaluation import bits_per_token
from ke_steps.settings.learning import EvaluateRetentionJob
from ke_steps.settings.texts import World
from ke_steps.summary.agreements import NOTE
from tests.invented.models import (
    NUM_LAYERS,
    NUM_MEMORIES,
    build_checkpoint,
    build_model,
    build_sequences,
    build_tokenizer,
    random_sequences,
)

MAX_LENGTH = 2048
WORLD = World(seed=1, num_people=20, num_continual_entities=5, num_questions=12)


def settings(**changes):
    values = {
        "tasks": ["world_recall", "piqa"],
        "num_items_per_task": 6,
        "held_out_corpus": "held_out",
        "batch_size_sequences": 5,
        "num_bootstrap": 300,
        "confidence": 0.9,
        "seed": 2,
        "num_threads": 1,
        "world": WORLD,
    }
    return EvaluateRetentionJob(**(values | changes))


@pytest.mark.parametrize("family", ["olmo", "llama", "gpt_neox"])
def test_bits_per_token_equal_the_models_loss(family):
    model, sequences = build_model(family), random_sequences(5, 20)
    bits = bits_per_token(model, sequences, batch_size_sequences=2, precision="fp32")
    with torch.no_grad():
        for value, sequence in zip(bits, sequences, strict=True):
            ids = torch.tensor(sequence[None]).long()
            loss = model(input_ids=ids, labels=ids).loss.item()
            assert value == pytest.approx(loss / np.log(2), rel=1e-6)


def test_run_writes_its_tables(tmp_path):
    manifest = build_checkpoint(tmp_path / "model", max_position_embeddings=MAX_LENGTH)
    sequences = build_sequences(tmp_path / "sequences.parquet", 6, 20)

    def evaluate(name, intervention=None):
        paths = {
            "output_retention": tmp_path / name,
            "output_answers": tmp_path / f"{name}_items",
            "output_replicates": tmp_path / f"{name}_replicates",
        }
        evaluate_retention.run(
            checkpoint=manifest,
            intervention=intervention,
            sequences=sequences,
            **paths,
            settings=settings(),
        )
        return [path.read_bytes() for path in paths.values()]

    assert evaluate("one") == evaluate("two")
    every = read_frame(tmp_path / "one", RETENTION)
    assert every.loc[every["quantity"] == "chance", "value"].tolist() == [0.25, 0.5, 0.375]
    table = every[every["quantity"] != "chance"].set_index("task")
    kept = read_frame(tmp_path / "one_replicates", REPLICATES)
    assert kept["group"].tolist() == every["task"].tolist()
    assert kept["value"].tolist() == every["value"].tolist()
    assert (kept["replicates"].map(len) == 300).all()
    items = read_frame(tmp_path / "one_items", RETENTION_ITEMS)
    assert table.loc["mean", "num_items"] == 12
    for task, group in items.groupby("task"):
        assert table.loc[task, "value"] == pytest.approx(group["correct"].mean())
        assert (group["correct"] == (group["label"] == group["prediction"])).all()

    intervention = tmp_path / "intervention.safetensors"
    save_file({"up_rows": torch.full((NUM_LAYERS, NUM_MEMORIES), 3.0)}, intervention)
    evaluate("scaled", intervention)
    assert kept["units"].equals(read_frame(tmp_path / "scaled_replicates")["units"])
    scaled = read_frame(tmp_path / "scaled").set_index("task")
    assert scaled.loc["held_out", "value"] != table.loc["held_out", "value"]


def test_a_lower_precision_is_compared_with_fp32_on_a_sample(tmp_path, monkeypatch):
    """What the provenance tells is what two evaluations give on the first items and sequences."""
    monkeypatch.setattr(evaluation, "NUM_ITEMS", 4)
    monkeypatch.setattr(evaluation, "NUM_SEQUENCES", 2)
    manifest = build_checkpoint(tmp_path / "model", max_position_embeddings=MAX_LENGTH)
    sequences = build_sequences(tmp_path / "sequences.parquet", 6, 20)
    correct, bits = {}, {}
    for precision in ("fp32", "bf16"):
        told = settings(precision=precision, compare_with_fp32=precision != "fp32")
        with provenance.recording("evaluate_retention", told.model_dump(mode="json"), {}):
            evaluate_retention.run(
                checkpoint=manifest,
                intervention=None,
                sequences=sequences,
                output_retention=tmp_path / precision,
                output_answers=tmp_path / f"{precision}_items",
                output_replicates=tmp_path / f"{precision}_replicates",
                settings=told,
            )
        items = read_frame(tmp_path / f"{precision}_items")
        correct[precision] = items[items["item"] < 4].set_index(["task", "item"])["correct"]
        model = load_model(manifest, device=torch.device("cpu"))
        bits[precision] = bits_per_token(
            model, random_sequences(6, 20), batch_size_sequences=5, precision=precision
        )
    assert agreement_of(tmp_path / "fp32") is None
    found = agreement_of(tmp_path / "bf16")
    by_task = (correct["bf16"] * 1.0 - correct["fp32"]).groupby("task").mean()
    assert found["num_items"] == 8
    assert found["num_other_answers"] == (correct["bf16"] != correct["fp32"]).sum()
    assert found["accuracy"] == pytest.approx(by_task.mean())
    assert found["num_sequences"] == 2
    change = bits["bf16"][:2].mean() - bits["fp32"][:2].mean()
    assert found["bits_per_token"] == pytest.approx(change, abs=1e-6)
    assert abs(change) > 1e-6


def agreement_of(table):
    return read_provenance(table).get(NOTE)


@pytest.mark.parametrize("diverged_at_step", [None, 7])
def test_losses_that_are_no_numbers_are_refused_but_from_a_diverged_run(diverged_at_step, tmp_path):
    model = build_model(max_position_embeddings=MAX_LENGTH)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.fill_(1e38)
    manifest = tmp_path / "model" / "manifest.json"
    save_checkpoint(
        model,
        build_tokenizer(tmp_path / "tokenizer"),
        manifest,
        step=0,
        source={"kind": "inject_knowledge", "diverged_at_step": diverged_at_step},
        sizes=describe_model(model),
    )
    paths = {
        "output_retention": tmp_path / "retention",
        "output_answers": tmp_path / "items",
        "output_replicates": tmp_path / "replicates",
    }

    def evaluate():
        evaluate_retention.run(
            checkpoint=manifest,
            intervention=None,
            sequences=build_sequences(tmp_path / "sequences.parquet", 6, 20),
            **paths,
            settings=settings(tasks=["world_recall"]),
        )

    if diverged_at_step is None:
        with pytest.raises(UserError, match="not numbers"):
            evaluate()
        assert not any(path.exists() for path in paths.values())
    else:
        evaluate()
        table = read_frame(paths["output_retention"], RETENTION).set_index("task")
        assert np.isnan(table.loc["held_out", "value"])
