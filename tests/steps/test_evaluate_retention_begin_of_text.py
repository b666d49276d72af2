"""The step asks its tasks behind what texts begin with."""

import numpy as np
import pytest
import torch

from ke_steps.artefacts.parquet import read_frame
from ke_steps.checkpoints.checkpoint_files import save_checkpoint
from ke_steps.models.feed_forward import describe_model
from ke_steps.settings.texts import World
from ke_steps.texts.world import recall_questions
from tests.invented.command_line import call, provenance_of
from tests.invented.models import build_model, build_sequences
from tests.invented.tokenizers import BOS_ID, EOS_ID, marked, read_by_transformers

WORLD = World(seed=1, num_people=20, num_continual_entities=5, num_questions=90)


@torch.no_grad()
def plain_predictions(model, theirs, begin):
    """Return the likeliest choices by float64 log probabilities of whole texts."""
    predictions = []
    for question in recall_questions(WORLD):
        sums = []
        for choice in question.choices:
            encoded = theirs(
                f"{question.prompt} {choice}",
                return_offsets_mapping=True,
                add_special_tokens=False,
            )
            ids = torch.tensor([[*begin, *encoded["input_ids"]]])
            is_scored = torch.tensor(
                [False] * len(begin)
                + [end > len(question.prompt) for _, end in encoded["offset_mapping"]]
            )
            logs = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
            sums.append(logs[is_scored[1:]].sum().item())
        predictions.append(int(np.argmax(sums)))
    return predictions


@pytest.mark.parametrize(
    ("setting", "begin", "noted"), [("tokenizer", [BOS_ID], "<s>"), ("never", [], "none")]
)
def test_predictions_are_those_behind_the_token(tmp_path, setting, begin, noted):
    model = build_model("llama", max_position_embeddings=256, pad_token_id=EOS_ID)
    tokenizer = marked(tmp_path / "tokenizer")
    checkpoint = tmp_path / "model" / "manifest.json"
    source = {"kind": "random"}
    save_checkpoint(
        model, tokenizer, checkpoint, step=0, source=source, sizes=describe_model(model)
    )
    settings = {
        "tasks": ["world_recall"],
        "held_out_corpus": "held_out",
        "batch_size_sequences": 8,
        "num_bootstrap": 100,
        "confidence": 0.9,
        "seed": 0,
        "num_threads": 1,
        "world": WORLD.model_dump(),
        "begin_of_text": setting,
    }
    answers = tmp_path / "answers"
    line = call(
        "evaluate_retention",
        settings,
        checkpoint=checkpoint,
        sequences=build_sequences(tmp_path / "sequences", 2, 20),
        output_retention=tmp_path / "retention",
        output_answers=answers,
        output_replicates=tmp_path / "replicates",
    )
    assert line is None
    expected = plain_predictions(model.double(), read_by_transformers(tokenizer), begin)
    assert read_frame(answers)["prediction"].tolist() == expected
    other = plain_predictions(model, read_by_transformers(tokenizer), [] if begin else [BOS_ID])
    assert expected != other
    assert provenance_of(answers)["begin_of_text"] == noted
