"""Tasks against the package's own metric, and a world's questions."""

import numpy as np
import olmo_eval
import pytest
import torch

from ke_steps.job.errors import UserError
from ke_steps.scoring.evaluation import load_task_items
from ke_steps.scoring.spans import Span
from ke_steps.scoring.tasks import Item, predict, recall_items
from ke_steps.settings.texts import World
from ke_steps.texts.world import recall_questions
from tests.invented.models import build_model
from tests.invented.package_tokenizer import PackageTokenizer

PAPER_TASKS = ["sciq", "winogrande", "piqa", "openbook_qa", "hellaswag", "arc_easy"]
NUM_CHOICES = {"sciq": 4, "winogrande": 2, "piqa": 2, "openbook_qa": 4, "hellaswag": 4}
MAX_LENGTH = 2048
WORLD = World(seed=1, num_people=20, num_continual_entities=5, num_questions=12)


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


@pytest.fixture(scope="module")
def model():
    return build_model(max_position_embeddings=MAX_LENGTH)


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
    predictions = predict(model, items, batch_size_sequences=7, precision="fp32", description=task)
    assert predictions.tolist() == expected
    assert np.mean(predictions == [item.label for item in items]) == pytest.approx(accuracy)


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
    assert predict(
        model, [item], batch_size_sequences=1, precision="fp32", description="t"
    ).tolist() == [1]
