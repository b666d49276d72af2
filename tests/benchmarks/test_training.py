"""The benchmark of training: four ways see the same batches, and costs beside steps are told."""

import torch

from benchmarks import training


def test_every_way_to_train_has_its_row_and_what_comes_besides_its_cost(run, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model, **options: model)
    monkeypatch.setenv("CXX", "sh")  # so that no compiler has to be there
    small = "--batch-size-sequences 4 --micro-batch-size-sequences 2"
    said = run(training, *small.split())
    rows = {line[:20].strip(): line.split() for line in said.splitlines()}
    for name in (
        training.COMPILED,
        training.BARE,
        training.STOCK,
        training.OURS,
        training.OURS_COMPILED,
    ):
        assert name in rows
    assert said.count("the loss of the first step differs from that of bare, compiled by") == 4
    costs = {line[:28].strip(): line[28:] for line in said.splitlines()}
    for what in ("saving a state", "writing the update map", "writing the checkpoint"):
        assert costs[what].split()[-1].endswith("%")
