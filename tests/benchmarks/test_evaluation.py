"""The benchmark of retention: everyone predicts the same from the same tokens."""

import argparse

import numpy as np
import pytest
import torch

from benchmarks import evaluation, evaluation_peers
from benchmarks.machine import olmo_config, random_model
from ke_steps.scoring.spans import Span
from ke_steps.scoring.tasks import Item

ITEMS = [
    Item((Span([2, 3, 4, 5, 6], 3), Span([2, 3, 4, 7], 3)), (2, 1), 0),
    Item((Span([9, 8], 1), Span([9, 8, 7, 6, 5, 4], 1)), (1, 1), 1),
]


def test_every_way_has_its_row(run):
    said = run(evaluation, "--tasks", "openbook_qa", "--num-items-per-task", "3")
    assert "sorted loop: the same prediction for 3 of 3 items" in said
    assert "ahead of sorted loop, goal 1.00" in said
    for name in (evaluation.OURS, evaluation.HARNESS, evaluation.LOOP):
        assert any(line.startswith(name) for line in said.splitlines())


@pytest.mark.parametrize(
    ("peer", "package"),
    [
        (evaluation.retention, "torch"),
        (evaluation_peers.sorted_loop, "torch"),
        (evaluation_peers.lm_evaluation_harness, "lm_eval"),
    ],
)
def test_scores_are_the_log_probabilities_of_continuations(peer, package):
    pytest.importorskip(package, reason="a peer of the benchmarks, not installed")
    model = random_model(
        olmo_config(argparse.Namespace(scale=0.0625, num_layers=1)), torch.device("cpu")
    )
    expected = []
    for ids, start in evaluation_peers.spans_of(ITEMS):
        with torch.no_grad():
            predicted = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected.append(
            sum(float(predicted[place - 1, ids[place]]) for place in range(start, len(ids)))
        )
    np.testing.assert_allclose(peer(model, [ITEMS], 2)(), expected, atol=1e-4)


def test_predictions_may_differ_where_choices_are_tied_alone(capsys):
    ours = np.array([-2.0, -1.5, -3.0, -3.0])
    assert evaluation.predicted(ours, ITEMS) == ([0, 0], [0.5, 0.0])
    tied = ours + np.array([0, 0, 0, 1e-6])
    evaluation.check_agreement({evaluation.OURS: ours, "b": tied}, ITEMS)
    assert "b: the same prediction for 1 of 2 items" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="b does not predict"):
        evaluation.check_agreement(
            {evaluation.OURS: ours, "b": ours - np.array([9, 0, 0, 0])}, ITEMS
        )
