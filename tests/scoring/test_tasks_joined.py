"""Questions of the world, by a tokenizer that marks the beginning of texts."""

import numpy as np
import pytest
import torch

from ke_steps.scoring.spans import score_spans
from ke_steps.scoring.tasks import predict, recall_items
from ke_steps.settings.texts import World
from ke_steps.texts.tokenizers import load_tokenizer
from ke_steps.texts.world import recall_questions
from tests.invented.models import build_model, build_tokenizer
from tests.invented.tokenizers import BOS_ID, marked, read_by_transformers

WORLD = World(seed=1, num_people=20, num_continual_entities=5, num_questions=12)


@torch.no_grad()
def test_choices_are_scored_as_one_text_with_their_question(tmp_path):
    """Log probabilities against plain transformers in float64, tokens and cut from its offsets."""
    directory = marked(tmp_path)
    items = recall_items(WORLD, load_tokenizer(directory, "tokenizer"))
    model = build_model("llama", max_position_embeddings=256)
    found = score_spans(
        model,
        [span for item in items for span in item.choices],
        batch_size_sequences=5,
        precision="fp32",
    )
    sums = iter([score.log_probabilities.sum(dtype=np.float64) for score in found])
    predictions = predict(
        model, items, batch_size_sequences=5, precision="fp32", description="recall"
    )

    theirs = read_by_transformers(directory)
    exact = model.double()
    for question, prediction in zip(recall_questions(WORLD), predictions, strict=True):
        expected = []
        for choice in question.choices:
            encoded = theirs(f"{question.prompt} {choice}", return_offsets_mapping=True)
            ids = torch.tensor([encoded["input_ids"]])
            assert ids[0, 0] == BOS_ID
            ends = torch.tensor([end for _, end in encoded["offset_mapping"]])
            logs = exact(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
            expected.append(logs[ends[1:] > len(question.prompt)].sum().item())
        assert [next(sums) for _ in expected] == pytest.approx(expected, rel=1e-5)
        assert prediction == np.argmax(expected)


def test_byte_level_tokens_are_those_of_question_and_choice_apart(tmp_path):
    tokenizer = load_tokenizer(build_tokenizer(tmp_path), "tokenizer")
    for item, question in zip(recall_items(WORLD, tokenizer), recall_questions(WORLD), strict=True):
        before = tokenizer.encode(question.prompt)
        for span, choice in zip(item.choices, question.choices, strict=True):
            assert list(span.token_ids) == before + tokenizer.encode(f" {choice}")
            assert span.start == len(before)
