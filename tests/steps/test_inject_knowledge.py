"""Injection: what it writes, when it probes, and the same bytes for the same seed."""

import numpy as np
import pandas as pd
import pytest
import torch

from ke_steps.artefacts import text_schemas
from ke_steps.artefacts.interventions import write_intervention
from ke_steps.artefacts.learning_schemas import PROBE_SCORES, TRAINING, UPDATES
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.formulas.decay import measure
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model
from ke_steps.texts.tokenizers import load_tokenizer
from ke_steps.training.injection import injected_tokens
from tests.invented.injections import (
    BATCH_SIZE,
    LENGTH,
    NUM_STEPS,
    PASSAGES,
    PROBES,
    SCHEDULE,
    build_inputs,
    inject,
    settings,
)
from tests.invented.models import (
    MAX_LENGTH_TOKENS,
    NUM_LAYERS,
    NUM_MEMORIES,
    build_sequences,
    build_tokenizer,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the input files of a run, by keyword."""
    return build_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, inject(folder, files)


def test_updates_are_measured_from_where_training_starts(trained, files, tmp_path):
    path = tmp_path / "intervention.safetensors"
    factors = np.linspace(0.5, 2, NUM_LAYERS * NUM_MEMORIES, dtype=np.float32)
    write_intervention(path, {"up_rows": factors.reshape(NUM_LAYERS, -1)})
    inject(tmp_path, files | {"intervention": path})
    cpu = torch.device("cpu")
    start = load_model(files["checkpoint"], device=cpu)
    end = load_model(tmp_path / "model" / "manifest.json", device=cpu)
    table = read_frame(tmp_path / "updates.parquet", UPDATES)
    assert table["layer"].tolist() == [0] * NUM_MEMORIES + [1] * NUM_MEMORIES
    assert table["memory"].tolist() == [*range(NUM_MEMORIES)] * 2
    for (layer, memory), row in table.set_index(["layer", "memory"]).iterrows():
        was, now = (model.model.layers[layer].mlp for model in (start, end))
        u = float(factors[layer * NUM_MEMORIES + memory])
        v, w = was.down_proj.weight[:, memory], now.down_proj.weight[:, memory]
        key = torch.cat([was.gate_proj.weight[memory], u * was.up_proj.weight[memory]])
        new_key = torch.cat([now.gate_proj.weight[memory], now.up_proj.weight[memory]])
        expected = [v.norm(), key.norm(), (w - v).norm(), (new_key - key).norm()]
        found = row[["memory_norm", "key_norm", "memory_change", "key_change"]]
        np.testing.assert_allclose(found, [x.item() for x in expected], rtol=1e-4)
    assert (table["key_change"] > 0).all()


def test_epochs_see_the_same_injections(files, tmp_path):
    once = SCHEDULE[SCHEDULE["injection"] == 1]
    again = once.assign(injection=2, train_step=6)
    write_table(tmp_path / "schedule", pd.concat([once, again]), text_schemas.SCHEDULE)
    short = build_sequences(tmp_path / "short", NUM_STEPS // 2 * BATCH_SIZE, LENGTH, seed=1)
    inputs = files | {"schedule": tmp_path / "schedule", "sequences": short}
    inject(tmp_path, inputs, num_epochs=2, num_injections=1)
    training = read_frame(tmp_path / "training.parquet", TRAINING)
    assert training["num_injected_sequences"].tolist() == [0, 0, 2, 0, 0, 2]
    scores = read_frame(tmp_path / "probe_scores.parquet")
    after = scores[scores["moment"] == "after"]
    assert after.groupby("injection")["train_step"].first().to_dict() == {1: 3, 2: 6}


def test_later_probes(files, tmp_path):
    early = SCHEDULE.assign(train_step=SCHEDULE["injection"])
    write_table(tmp_path / "schedule", early, text_schemas.SCHEDULE)
    changes = {"injection_interval_steps": 1, "probe_interval_steps": 2}
    inject(tmp_path, files | {"schedule": tmp_path / "schedule"}, **changes)
    scores = read_frame(tmp_path / "probe_scores.parquet", PROBE_SCORES)
    later = scores[scores["moment"] == "later"]
    assert later["train_step"].unique().tolist() == [4]
    assert later["injection"].isna().all()
    assert scores["moment"].iloc[-1] == "end"
    gains, retained = measure(scores, early)
    assert len(gains) == 2 * 2 + 2 * 1  # two probes of a passage seen twice, two of passages once
    assert retained["train_step"].max() == NUM_STEPS


def test_outputs(trained, files):
    folder, _ = trained
    manifest = read_checkpoint_manifest(folder / "model" / "manifest.json")
    assert manifest["step"] == 40
    assert manifest["source"]["seed"] == 0
    assert manifest["source"]["recipe"]["corpus"] == "news"
    assert manifest["source"]["intervention_sha256"] is None
    assert manifest["source"]["diverged_at_step"] is None
    assert not (folder / "model" / "unfinished").exists()

    training = read_frame(folder / "training.parquet", TRAINING)
    assert training["train_step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert training["num_injected_sequences"].tolist() == [0, 0, 2, 0, 0, 2]

    scores = read_frame(folder / "probe_scores.parquet", PROBE_SCORES)
    moments = scores.drop_duplicates(["moment", "train_step"])
    assert list(zip(moments["moment"], moments["train_step"], strict=True)) == [
        ("start", 0),
        ("before", 2),
        ("after", 3),
        ("before", 5),
        ("after", 6),
        ("end", 6),
    ]
    assert moments["injection"].isna().tolist() == [True, False, False, False, False, True]
    assert len(scores) == 6 * len(PROBES)
    assert not scores.drop(columns="injection").isna().any().any()
    by_moment = {m: g["log_probability_sum"].to_numpy() for m, g in scores.groupby("moment")}
    assert (by_moment["start"] != by_moment["end"]).all()


def test_same_seed_same_bytes_and_other_seed_others(trained, files, tmp_path):
    _, first = trained
    again = inject(tmp_path / "again", files)
    other = inject(tmp_path / "other", files, seed=1)
    assert again == first
    assert all(a != b for a, b in zip(other, first, strict=True))


def test_micro_batches_do_not_change_the_result(trained, files, tmp_path):
    folder, _ = trained
    inject(tmp_path, files, micro_batch_size_sequences=4)
    one, other = (read_frame(path / "training.parquet")["loss_nats"] for path in (folder, tmp_path))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_interventions_change_where_training_starts(trained, files, tmp_path):
    path = tmp_path / "intervention.safetensors"
    write_intervention(path, {"up_rows": np.full((NUM_LAYERS, NUM_MEMORIES), 1.5)})
    inject(tmp_path, files | {"intervention": path})
    scores, original = (
        read_frame(folder / "probe_scores.parquet") for folder in (tmp_path, trained[0])
    )
    start = scores["moment"] == "start"
    assert (scores[start]["log_probability_sum"] != original[start]["log_probability_sum"]).all()
    source = read_checkpoint_manifest(tmp_path / "model" / "manifest.json")["source"]
    assert len(source["intervention_sha256"]) == 64


def test_a_gauge_begins_where_the_original_does_and_learns_otherwise(trained, files, tmp_path):
    path = tmp_path / "intervention.safetensors"
    factors = np.linspace(1, 9, NUM_LAYERS * NUM_MEMORIES, dtype=np.float32)
    factors = factors.reshape(NUM_LAYERS, -1)
    vectors = 1 / factors.astype(float)
    write_intervention(path, {"up_rows": factors, "memory_vectors": vectors})
    inject(tmp_path, files | {"intervention": path})
    scores, original = (
        read_frame(folder / "probe_scores.parquet").set_index("moment")["log_probability_sum"]
        for folder in (tmp_path, trained[0])
    )
    np.testing.assert_allclose(scores["start"], original["start"], rtol=1e-5)
    assert (scores["end"] - original["end"]).abs().min() > 1e-3
    losses = [
        read_frame(folder / "training.parquet")["loss_nats"] for folder in (tmp_path, trained[0])
    ]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-5)
    assert losses[0][5] != pytest.approx(losses[1][5], rel=1e-5)


def test_bf16_runs(files, tmp_path):
    inject(tmp_path, files, precision="bf16")
    manifest = read_checkpoint_manifest(tmp_path / "model" / "manifest.json")
    assert {tensor["dtype"] for tensor in manifest["tensors"].values()} == {"F32"}


def test_a_diverged_run_is_kept_and_marked(files, tmp_path, capsys):
    # the first step makes weights so large that nothing after it is a number
    inject(tmp_path, files, learning_rate=1e30)
    manifest = read_checkpoint_manifest(tmp_path / "model" / "manifest.json")
    assert manifest["source"]["diverged_at_step"] == 2
    training = read_frame(tmp_path / "training.parquet", TRAINING)
    assert training["train_step"].tolist() == [1, 2]
    assert np.isfinite(training["loss_nats"]).tolist() == [True, False]
    scores = read_frame(tmp_path / "probe_scores.parquet", PROBE_SCORES)
    moments = scores.drop_duplicates(["moment", "train_step"])
    assert list(zip(moments["moment"], moments["train_step"], strict=True)) == [
        ("start", 0),
        ("end", 1),
    ]
    is_number = scores.groupby("moment")["log_probability_sum"].agg(lambda s: s.notna().all())
    assert is_number.to_dict() == {"start": True, "end": False}
    assert "training diverged at step 2: loss nan" in capsys.readouterr().err
    assert not (tmp_path / "model" / "unfinished").exists()


def test_refusals(files, tmp_path):
    with pytest.raises(UserError, match=r"corpora\.news\.num_sequences"):
        inject(tmp_path, files, num_steps=20)
    too_long = build_sequences(tmp_path / "long", 30, MAX_LENGTH_TOKENS + 1)
    with pytest.raises(UserError, match="65 tokens are more than the model's context of 64"):
        inject(tmp_path, files | {"sequences": too_long})
    too_short = build_sequences(tmp_path / "short", 30, LENGTH - 2)
    with pytest.raises(UserError, match="60 tokens are fewer than the 61 of an injected text"):
        inject(tmp_path, files | {"sequences": too_short})
    assert not list(tmp_path.rglob("*.*"))

    tokenizer = load_tokenizer(build_tokenizer(tmp_path))

    def refused(match, **changes):
        schedule = SCHEDULE.copy()
        for column, value in changes.items():
            schedule.loc[1, column] = value
        with pytest.raises(UserError, match=match):
            injected_tokens(schedule, PASSAGES, tokenizer, settings())

    refused("passage 99 has no text 0", passage_id=99)
    refused("step 3, batch row 4 is outside", batch_row=4)
    refused("step 7, batch row 2 is outside", train_step=7)
    refused("step 3, batch row 0 is named twice", batch_row=0)
