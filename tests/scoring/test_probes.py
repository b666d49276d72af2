"""Probe scores against full logits, and against the reference evaluator written out."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from ke_steps import encode_probes
from ke_steps.job.errors import UserError
from ke_steps.scoring.probes import read_spans, score_probes
from ke_steps.scoring.spans import Span, score_spans
from tests.invented.models import PAD_ID, build_model

WORDS = ["Mara", "Orsk", "the river", "lamps", "glass blowers of Orsk", "seven", "bridge"]


@pytest.fixture(scope="module")
def probes():
    """Return 60 probes: groups of more than 16, interleaved."""
    generator = np.random.default_rng(3)
    rows = []
    for index in range(60):
        words = generator.choice(WORDS, generator.integers(1, 6))
        rows.append(
            {
                "probe_id": index,
                "passage_id": index // 6,
                "condition": "paraphrase" if index % 5 < 3 else "once",
                "kind": "memorization" if index % 2 else "semantic",
                "input": " ".join(words),
                "target": str(generator.choice(WORDS)),
            }
        )
    return pd.DataFrame(rows)


@torch.no_grad()
def naive_row(model, span):
    ids = torch.tensor([span.token_ids])
    log_probabilities = torch.log_softmax(model(ids).logits[0].float(), dim=-1)
    targets = span.token_ids[span.start :]
    predictions = log_probabilities[span.start - 1 : -1]
    return (
        [predictions[i, t].item() for i, t in enumerate(targets)],
        [int(p.argmax()) == t for p, t in zip(predictions, targets, strict=True)],
    )


@pytest.mark.parametrize("family", ["olmo", "llama", "gpt_neox"])
def test_scores_equal_full_logits(family, tokenizer, probes, monkeypatch):
    monkeypatch.setattr("ke_steps.scoring.spans.POSITIONS_PER_HEAD_CALL", 7)
    model = build_model(family)
    encoded = encode_probes.encode(tokenizer, probes)
    spans = read_spans(encoded)
    scores = score_probes(model, encoded, precision="fp32")
    for span, (_, score) in zip(spans, scores.iterrows(), strict=True):
        values, matches = naive_row(model, span)
        assert score["num_target_tokens"] == len(values)
        assert score["log_probability_sum"] == pytest.approx(sum(values), abs=2e-5)
        assert score["log_probability_per_token"] == pytest.approx(np.mean(values), abs=2e-5)
        assert score["log_probability_first_token"] == pytest.approx(values[0], abs=2e-5)
        assert score["exact_match"] == all(matches)
    assert scores["probe_id"].tolist() == probes["probe_id"].tolist()


def test_exact_match_sees_a_model_that_knows(tokenizer, probes):
    model = build_model()
    span = read_spans(encode_probes.encode(tokenizer, probes))[0]
    knowing = list(span.token_ids)
    with torch.no_grad():
        for position in range(span.start, len(knowing)):
            logits = model(torch.tensor([knowing[:position]])).logits
            knowing[position] = int(logits[0, -1].argmax())
    (score,) = score_spans(
        model, [Span(knowing, span.start)], batch_size_sequences=1, precision="fp32"
    )
    assert score.is_argmax.all()


def reference_evaluator(model, spans):
    """Write out what the reference does with one condition and kind (FACTS, section 3)."""
    values = []
    for first in range(0, len(spans), 16):
        batch = spans[first : first + 16]
        longest = max(len(span.token_ids) for span in batch)
        input_ids = torch.full((len(batch), longest), PAD_ID)
        label_mask = torch.zeros_like(input_ids, dtype=torch.bool)
        attention_mask = torch.zeros_like(input_ids)
        for row, span in enumerate(batch):
            length = len(span.token_ids)
            input_ids[row, :length] = torch.tensor(span.token_ids)
            label_mask[row, span.start : length] = True
            attention_mask[row, :length] = 1
        labels = input_ids.clone().masked_fill(~label_mask, -100)[:, 1:]
        with torch.no_grad():
            logits = model(input_ids, attention_mask=attention_mask).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none"
        )
        values += (-loss.view(len(batch), -1).mean(dim=-1)).tolist()
    return values


def test_reference_scale_equals_the_reference_evaluator(tokenizer, probes):
    model = build_model()
    encoded = encode_probes.encode(tokenizer, probes)
    spans = read_spans(encoded)
    scores = score_probes(model, encoded, precision="fp32")
    for _, group in scores.groupby(["condition", "kind"]):
        expected = reference_evaluator(model, [spans[index] for index in group.index])
        np.testing.assert_allclose(group["log_probability_reference_padded"], expected, atol=1e-5)


def test_probing_changes_neither_mode_nor_random_state(tokenizer, probes):
    model = build_model().train()
    encoded = encode_probes.encode(tokenizer, probes)
    state = torch.get_rng_state()
    score_probes(model, encoded, precision="bf16")
    assert model.training
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("text", "target"), [("", "lamps"), ("lamps of", "")])
def test_a_probe_without_input_or_target_is_refused(probes, text, target):
    words = SimpleNamespace(
        encode_batch=lambda texts: [text.split() for text in texts], begin_ids=()
    )
    odd = probes.iloc[:3].assign(probe_id=[7, 8, 9])
    odd.loc[1, ["input", "target"]] = [text, target]
    with pytest.raises(UserError, match="probe 8"):
        encode_probes.encode(words, odd)
