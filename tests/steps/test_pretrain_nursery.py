"""Pretraining from scratch: which checkpoints appear, and the same bytes for the same seed."""

import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ke_steps import pretrain_nursery
from ke_steps.artefacts.learning_schemas import TRAINING
from ke_steps.artefacts.parquet import read_frame
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.describe_memories import memory_rows
from ke_steps.job import provenance
from ke_steps.job.errors import Stopped, UserError
from ke_steps.models.loading import load_model
from ke_steps.pretrain_nursery import order_of
from ke_steps.settings.measures import DescribeMemoriesJob
from ke_steps.texts.tokenizers import load_tokenizer
from ke_steps.training.batches import TrainingSequences
from ke_steps.training.trainer import StudyTrainer, build_optimizer
from tests.invented.models import VOCAB_SIZE, build_sequences
from tests.invented.training import LENGTH, nursery_settings, pretrain


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Return 24 sequences of only four tokens: quickly learned."""
    ids = np.random.default_rng(0).integers(2, 6, (24, LENGTH), dtype=np.int32)
    return build_sequences(tmp_path_factory.mktemp("corpus") / "s.parquet", input_ids=ids)


@pytest.fixture
def inputs(tokenizer_manifest, corpus):
    return {"tokenizer": tokenizer_manifest, "sequences": corpus}


def test_checkpoints_and_training_table(tmp_path, tokenizer_manifest, corpus):
    manifests = pretrain(tmp_path, tokenizer_manifest, corpus)
    described = [read_checkpoint_manifest(path) for path in manifests]
    assert [m["step"] for m in described] == [0, 2, 6]
    assert described[0]["num_memories"] == 24
    source = described[0]["source"]
    assert (source["kind"], source["seed"], source["weight_decay"]) == ("nursery", 5, 0.1)
    assert not {"steps", "num_threads"} & source.keys()  # a checkpoint is the same with others
    assert {t["dtype"] for t in described[2]["tensors"].values()} == {"F32"}
    embeddings = [m["tensors"]["model.embed_tokens.weight"]["sha256"] for m in described]
    assert len(set(embeddings)) == 3
    assert len({(p.parent / "config.json").read_bytes() for p in manifests}) == 1

    training = read_frame(tmp_path / "training.parquet", TRAINING)
    assert training["train_step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert training["loss_nats"].iloc[0] == pytest.approx(np.log(VOCAB_SIZE), rel=0.05)
    assert training["loss_nats"].iloc[-1] < training["loss_nats"].iloc[0] - 0.5
    assert training["learning_rate"].iloc[-1] == pytest.approx(1e-3)

    model = load_model(manifests[1], device=torch.device("cpu"))
    assert model.config.max_position_embeddings == LENGTH
    assert model.config.eos_token_id == 0
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_step_0_is_the_untrained_model_and_steps_share_one_run(
    tmp_path, tokenizer_manifest, corpus
):
    all_steps = pretrain(tmp_path / "a", tokenizer_manifest, corpus)
    last_only = pretrain(tmp_path / "b", tokenizer_manifest, corpus, steps=[6])
    weights = [path.parent / "model.safetensors" for path in (*all_steps, *last_only)]
    assert not (tmp_path / "b" / "states" / "checkpoint-2").exists()
    assert weights[2].read_bytes() == weights[3].read_bytes()
    assert abs(load_file(weights[0])["model.embed_tokens.weight"]).max() < 0.2


def test_epochs_go_over_the_same_sequences(tmp_path, tokenizer_manifest):
    """Two epochs of three steps are one of six on a corpus that has its sequences twice."""
    once = np.random.default_rng(3).integers(2, 9, (12, LENGTH), dtype=np.int32)
    weights = []
    for name, ids, num_epochs in (("once", once, 2), ("twice", np.concatenate([once] * 2), 1)):
        folder = tmp_path / name
        folder.mkdir()
        corpus = build_sequences(folder / "s.parquet", input_ids=ids)
        [manifest] = pretrain(
            folder, tokenizer_manifest, corpus, steps=[6], seed=0, num_epochs=num_epochs
        )
        weights.append((manifest.parent / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_seeds_differ(tmp_path, tokenizer_manifest, corpus):
    one, other = (
        pretrain(tmp_path / str(seed), tokenizer_manifest, corpus, steps=[6], seed=seed)[0]
        for seed in (1, 2)
    )
    hashes = [read_checkpoint_manifest(path)["tensors"] for path in (one, other)]
    assert hashes[0] != hashes[1]


def stop_after(step, monkeypatch):
    observe = pretrain_nursery._Keeper.observe

    def stopping(self, model, done):
        observe(self, model, done)
        if done == step:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(pretrain_nursery._Keeper, "observe", stopping)


@pytest.mark.parametrize("lost", [None, "checkpoint-2/kept/config.json", "checkpoint-0"])
def test_going_on_after_a_signal_gives_the_same_checkpoints(
    lost, tmp_path, tokenizer_manifest, corpus, capsys
):
    pretrain(tmp_path / "undisturbed", tokenizer_manifest, corpus)
    folder = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped, match="after step 3 of 6"):
        stop_after(2, patch)
        pretrain(folder, tokenizer_manifest, corpus)
    states = folder / "states"
    assert [path.name for path in folder.iterdir()] == ["states"]
    assert {path.name for path in states.iterdir()} == {f"checkpoint-{step}" for step in (0, 2, 3)}
    if lost == "checkpoint-0":
        shutil.rmtree(states / lost)
    elif lost is not None:
        (states / lost).unlink()

    pretrain(folder, tokenizer_manifest, corpus)
    said = capsys.readouterr().err
    assert "going on from the state saved after step 3" in said
    assert (f"removed: {states / 'checkpoint-2'} is damaged" in said) == ("2" in (lost or ""))
    assert_same(folder, tmp_path / "undisturbed")


def test_a_head_of_its_own_is_trained_and_is_what_memories_are_read_by(
    tmp_path, tokenizer_manifest, corpus
):
    manifests = pretrain(tmp_path, tokenizer_manifest, corpus, tie_word_embeddings=False)
    before, after = (load_file(manifests[n].parent / "model.safetensors") for n in (0, -1))
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        assert not np.array_equal(before[name], after[name])
    assert not np.allclose(after["lm_head.weight"], after["model.embed_tokens.weight"], atol=0.01)

    model = load_model(manifests[-1], device=torch.device("cpu"))
    settings = DescribeMemoriesJob(num_memories=24, num_tokens=1, num_threads=1)
    words = load_tokenizer(manifests[-1].parent)
    rows = list(memory_rows(model, words, np.ones((2, 24)), settings))
    for head, is_read in (("lm_head", True), ("model.embed_tokens", False)):
        unembedding = after[f"{head}.weight"][: words.vocab_size]
        best = [
            words.decode(int((unembedding @ vector).argmax()))
            for layer in range(2)
            for vector in after[f"model.layers.{layer}.mlp.down_proj.weight"].T
        ]
        told = {(row["layer"], row["memory"]): row["tokens"] for row in rows}
        assert ([token for key in sorted(told) for token in told[key]] == best) == is_read


def test_a_head_of_its_own_decays_as_linear_layers_do_and_a_tied_one_does_not(
    tmp_path, tokenizer_manifest, corpus
):
    """Without a learning signal on it, AdamW leaves (1 - ηλ)^6 of a matrix."""
    for is_tied in (True, False):
        model = pretrain_nursery.build_model(
            nursery_settings(tie_word_embeddings=is_tied),
            load_tokenizer(tokenizer_manifest.parent),
            16,
        )
        optimizer = build_optimizer(model, learning_rate=0.01, weight_decay=0.1)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        heads = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
        before = [each.detach().clone() for each in heads]
        for _ in range(6):
            optimizer.step()
        for head, old, factor in zip(heads, before, (1, 1 if is_tied else 0.999**6), strict=True):
            torch.testing.assert_close(head, old * factor)


def test_going_on_within_another_schedule_gives_the_same_rates_and_weights(
    tmp_path, tokenizer_manifest, corpus
):
    other = {"schedule": "warmup_stable_decay", "decay_fraction": 0.5, "tie_word_embeddings": False}
    (undisturbed,) = pretrain(tmp_path / "a", tokenizer_manifest, corpus, steps=[6], **other)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped, match="after step 5 of 6"):
        stop_after(4, patch)
        pretrain(tmp_path / "b", tokenizer_manifest, corpus, steps=[6], **other)
    (manifest,) = pretrain(tmp_path / "b", tokenizer_manifest, corpus, steps=[6], **other)
    weights = [path.parent / "model.safetensors" for path in (manifest, undisturbed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    tables = [tmp_path / name / "training.parquet" for name in ("a", "b")]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    rates = read_frame(tables[0], TRAINING)["learning_rate"]
    np.testing.assert_allclose(rates, [1e-2, 1e-2, 1e-2, 7e-3, 4e-3, 1e-3])


def files_of(folder):
    """Return the bytes of all checkpoints and of the table; not those of optimisers' states."""
    kept = [path for path in folder.rglob("kept/*") if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in [*kept, table_of(folder)]}


def table_of(folder):
    return folder / "training.parquet"


def assert_same(folder, other):
    ours, theirs = files_of(folder), files_of(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    states = [{path.name for path in (each / "states").iterdir()} for each in (folder, other)]
    assert states[0] == states[1]


@pytest.fixture
def trained_steps(monkeypatch):
    """Return a list to which every step that is trained is added."""
    steps = []
    method = StudyTrainer.training_step

    def counted(self, *arguments, **keywords):
        steps.append(self.state.global_step + 1)
        return method(self, *arguments, **keywords)

    monkeypatch.setattr(StudyTrainer, "training_step", counted)
    return steps


@pytest.mark.parametrize(
    ("steps", "trained"),
    [
        (([0, 2, 6], [0, 2, 5, 6]), [3, 4, 5]),
        (([0, 2, 6], [0, 1, 2, 4, 6]), [1, 3, 4]),
        (([2, 6], [0, 2, 6]), []),
        (([0, 2, 6], [2]), []),
        (([2], [2, 6]), []),  # the last state is there for the training table
    ],
    ids=str,
)
def test_other_steps_of_the_same_run_train_what_is_missing_alone(
    steps, trained, tmp_path, inputs, trained_steps
):
    before, after = steps

    def run(folder, steps):
        settings = nursery_settings(steps=steps).model_dump()
        with provenance.recording("pretrain_nursery", settings, inputs):
            pretrain(folder, *inputs.values(), steps=steps)

    run(tmp_path / "undisturbed", after)
    run(tmp_path / "again", before)
    (tmp_path / "again" / "training.parquet").unlink()  # as Snakemake does before a job
    trained_steps.clear()
    run(tmp_path / "again", after)
    assert trained_steps == trained
    assert_same(tmp_path / "again", tmp_path / "undisturbed")


@pytest.mark.parametrize("changed", ["settings", "inputs", "code"])
def test_states_of_another_run_are_removed(changed, tmp_path, inputs, trained_steps, capsys):
    for changes in ({}, {changed: {"other": "one"}}):
        with provenance.recording("pretrain_nursery", {"seed": 5, "steps": []}, {}):
            provenance.current().update(changes)
            trained_steps.clear()
            pretrain(tmp_path, *inputs.values())
    assert trained_steps == [1, 2, 3, 4, 5, 6]
    said = capsys.readouterr().err
    assert said.count(f"is of another job: {changed} differ") == 3


def test_seed_0_reads_the_corpus_in_its_order_and_another_draws_one():
    assert order_of(0, 9) is None
    drawn = [order_of(seed, 9).tolist() for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert sorted(drawn[0]) == sorted(drawn[1]) == list(range(9))
    rows = np.arange(9, dtype=np.int32)[:, None]
    items = TrainingSequences(rows, num_items=6, order=order_of(1, 9))
    assert [int(items[item][0]) for item in range(6)] == drawn[0][:6]


def test_divergence_is_told_in_one_line_and_leaves_no_table(tmp_path, tokenizer_manifest, corpus):
    with pytest.raises(UserError, match=r"^pretraining diverged after step 1 of 6: lower learning"):
        pretrain(tmp_path, tokenizer_manifest, corpus, learning_rate=1e30, warmup_fraction=0.0)
    assert not table_of(tmp_path).exists()


def test_refusals(tmp_path, tokenizer_manifest, corpus):
    with pytest.raises(UserError, match=r"corpora\.world\.num_sequences.*needs 28"):
        pretrain(tmp_path, tokenizer_manifest, corpus, num_steps=7)
    with pytest.raises(UserError, match=r"steps \[9\].*num_steps is 6"):
        pretrain(tmp_path, tokenizer_manifest, corpus, steps=[0, 9])
    assert not list(tmp_path.iterdir())
