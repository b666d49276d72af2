"""Spans score as each would alone, however they are batched."""

import numpy as np
import pytest
import torch

from ke_steps.scoring.spans import Span, score_spans
from tests.invented.models import FAMILIES, build_model

SPANS = [
    Span([5, 6, 7, 8], 2),
    Span([9, 4, 3, 2, 7, 8, 9, 4, 11], 3),
    Span([5, 6, 7, 12], 2),  # as the first one, but for its last token
    Span([5, 6, 7, 12], 3),  # the same tokens, another part of them
    Span([5, 6, 7, 12, 3], 4),
    Span([4, 9], 1),
]
NUM_INPUTS = 4
"""Different ones, without the last token, which predicts nothing."""


@pytest.mark.parametrize("family", FAMILIES)
def test_spans_score_as_alone(family):
    model = build_model(family)
    rows = []
    handle = model.base_model.register_forward_pre_hook(
        lambda module, given, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    found = score_spans(model, SPANS, batch_size_sequences=3, precision="fp32")
    handle.remove()
    assert rows == [3, NUM_INPUTS - 3]
    for (ids, start), score in zip(SPANS, found, strict=True):
        with torch.no_grad():
            predicted = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        places = range(start, len(ids))
        expected = [float(predicted[place - 1, ids[place]]) for place in places]
        np.testing.assert_allclose(score.log_probabilities, expected, atol=2e-5)
        likeliest = predicted.argmax(-1)
        assert score.is_argmax.tolist() == [likeliest[place - 1] == ids[place] for place in places]


def test_a_first_token_has_no_log_probability():
    with pytest.raises(ValueError, match="nothing precedes the first token"):
        score_spans(
            build_model(),
            [Span([5, 6], 1), Span([5, 6], 0)],
            batch_size_sequences=2,
            precision="fp32",
        )
