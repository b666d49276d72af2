"""Runs a benchmark at a scale where it takes a second."""

import pytest
import torch


@pytest.fixture
def run(monkeypatch, capsys):
    """Return what runs ``main`` of a benchmark on a tiny model and gives back what it printed."""

    def run_benchmark(benchmark, *arguments):
        tiny = "--device cpu --scale 0.0625 --num-layers 1 --num-repeats 1 --num-threads 1"
        monkeypatch.setattr("sys.argv", ["benchmark", *tiny.split(), *arguments])
        benchmark.main()
        return capsys.readouterr().out

    yield run_benchmark
    torch.use_deterministic_algorithms(False)
